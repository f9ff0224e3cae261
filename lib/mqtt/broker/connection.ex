defmodule MQTT.Broker.Connection do
  @moduledoc false
  # A client of a broker, by the callbacks of MQTT.Server.

  @behaviour MQTT.Server

  alias MQTT.{Message, Router, Session}
  alias MQTT.Broker.{ACL, Context, Passwords, Sessions}
  alias MQTT.Server.Accepting

  # How long to wait before a client is looked at again that has not read what was retained, in milliseconds.
  @retry 20

  @enforce_keys [:context, :client, :shared]
  defstruct @enforce_keys ++ [session: nil, rules: nil, retained: [], retained_due: false]

  # shared: whether the client knows shared subscriptions
  # rules: of the ACL file, if there is one
  # retained: {filter, options, cursor} of the subscriptions that what is retained is being sent for
  # retained_due: whether a message that goes on with these is on its way, of which there is one at most

  @impl true
  def init(name, params) do
    context = Context.get!(name)
    params = identified(params)
    client = params |> Map.delete(:password) |> Map.put(:data, nil) |> kept()
    s = %__MODULE__{context: context, client: client, shared: params.protocol_version >= 5}

    result =
      with :ok <- offered(params[:last_will], context.connack),
           :ok <- known_method(params, context),
           do: authenticate(context, params)

    with {:error, reason, _} <- authenticated(result, s), do: {:stop, reason}
  end

  # A step of an enhanced authentication, of one who connects or is connected.
  @impl true
  def handle_auth(reason, properties, %{context: %{hooks: hooks}} = s) do
    properties = Map.put(properties, :reason, reason)
    s.client |> hooks.handle_auth.(properties, hooks.args) |> authenticated(s)
  end

  defp authenticated(:ok, s), do: accept(s)
  defp authenticated({:ok, data}, s), do: s |> with_data(data) |> accept()

  defp authenticated({:continue, properties, data}, s),
    do: {:continue, properties, with_data(s, data)}

  defp authenticated({:error, reason}, s), do: {:error, reason, s}

  defp with_data(s, data), do: %{s | client: %{s.client | data: data}}

  # It was connected before.
  defp accept(%{session: session} = s) when session != nil, do: {:ok, s}

  defp accept(%{context: context, client: client} = s) do
    case Sessions.open(context, client.client_id, client[:username], info(client)) do
      {:ok, session, age} ->
        s = %{s | session: session, rules: rules(context, client)}
        event({:connected, connected(age, session, client)}, s)
        actions = [{:session, session}, {:will, :auto}, {:connack, context.connack}, router(s)]
        {:ok, s, deliveries(context.hooks) ++ actions}

      {:error, reason} ->
        {:error, reason, s}
    end
  end

  defp rules(%{acl: nil}, _client), do: nil
  defp rules(%{acl: acl}, client), do: ACL.rules(acl, client.client_id, client[:username])

  defp connected(:new, _session, _client), do: :new
  defp connected(:old, _session, %{clean_session: true}), do: :discarded

  # One that was not to outlast its connection is not resumed either.
  defp connected(:old, session, _client) do
    if Session.info(session).expiry_interval == 0, do: :discarded, else: :resumed
  end

  defp router(%{context: %{hooks: hooks, router: router}} = s) do
    cond do
      is_map_key(hooks, :authorize_publish) or is_map_key(hooks, :handle_publish) or
          :retained in hooks.events ->
        {:router, router, :callbacks}

      s.rules ->
        {:router, router, s.rules}

      true ->
        {:router, router}
    end
  end

  # Only who wants to know of each message pays for it.
  defp deliveries(%{events: events} = hooks) do
    if is_map_key(hooks, :authorize_delivery) or :delivered in events or :dropped in events,
      do: [{:deliveries, :callbacks}],
      else: []
  end

  # Before MQTT 5.0 a client is not told the identifier that it gets [MQTT-3.1.3-6].
  defp identified(%{client_id: ""} = params), do: %{params | client_id: Accepting.new_id()}
  defp identified(params), do: params

  # The table keeps these for as long as the session, and not all of CONNECT with them.
  defp kept(client) do
    for key <- [:client_id, :username], %{^key => value} <- [client], reduce: client do
      client -> %{client | key => :binary.copy(value)}
    end
  end

  # [MQTT-3.2.2-12] [MQTT-3.2.2-13]
  defp offered(nil, _connack), do: :ok

  defp offered(%{qos: qos}, %{maximum_qos: most}) when qos > most,
    do: {:error, :qos_not_supported}

  defp offered(%{retain: true}, %{retain_available: 0}), do: {:error, :retain_not_supported}
  defp offered(_will, _connack), do: :ok

  defp info(client) do
    client
    |> Map.take([:username, :protocol_version, :keep_alive, :clean_session, :peer])
    |> Map.merge(%{pid: self(), connected_at: System.system_time(:second)})
  end

  # [MQTT-4.12.0-1]
  defp known_method(%{properties: %{authentication_method: _}}, %{hooks: hooks})
       when not is_map_key(hooks, :handle_auth),
       do: {:error, :bad_authentication_method}

  defp known_method(_params, _context), do: :ok

  defp authenticate(%{hooks: %{authenticate: authenticate, args: args}}, params),
    do: authenticate.(params, args)

  defp authenticate(%{passwords: passwords}, %{username: user} = params)
       when passwords != nil do
    if Passwords.verify(passwords, user, params[:password]),
      do: :ok,
      else: {:error, :bad_user_name_or_password}
  end

  defp authenticate(%{anonymous: true}, _params), do: :ok

  defp authenticate(%{anonymous: :loopback, passwords: nil}, params) do
    if loopback?(params.peer), do: :ok, else: {:error, :not_authorized}
  end

  defp authenticate(_context, _params), do: {:error, :not_authorized}

  defp loopback?({{127, _, _, _}, _port}), do: true
  defp loopback?({{0, 0, 0, 0, 0, 0, 0, 1}, _port}), do: true
  # An IPv4 client of an IPv6 listener.
  defp loopback?({{0, 0, 0, 0, 0, 0xFFFF, high, _}, _port}), do: div(high, 256) == 127
  defp loopback?(_), do: false

  ## Messages

  # With a router of its own it is called for the will only.
  @impl true
  def handle_publish(topic, payload, opts, s) do
    message = message(topic, payload, opts)

    with :ok <- may_publish(topic, s),
         :ok <- authorize_publish(message, s),
         {:ok, message} <- changed(message, s) do
      if opts[:will], do: event({:will_published, message}, s)
      publish(message, s)
    else
      :drop -> {:ok, s}
      {:error, reason} -> {:error, reason, s}
    end
  end

  defp message(topic, payload, opts) do
    %Message{
      topic: topic,
      payload: payload,
      qos: opts.qos,
      retain: opts.retain,
      properties: Map.get(opts, :properties, %{})
    }
  end

  # Those are the broker's.
  defp may_publish("$SYS", _s), do: {:error, :not_authorized}
  defp may_publish("$SYS/" <> _, _s), do: {:error, :not_authorized}
  defp may_publish("$share/" <> _, _s), do: {:error, :not_authorized}
  defp may_publish(_topic, %{rules: nil}), do: :ok

  defp may_publish(topic, %{rules: rules}),
    do: if(ACL.may_publish?(rules, topic), do: :ok, else: {:error, :not_authorized})

  defp authorize_publish(
         message,
         %{context: %{hooks: %{authorize_publish: authorize} = hooks}} = s
       ),
       do: authorize.(s.client, message, hooks.args)

  defp authorize_publish(_message, _s), do: :ok

  defp changed(message, %{context: %{hooks: %{handle_publish: handle} = hooks}} = s) do
    case handle.(s.client, message, hooks.args) do
      :ok -> {:ok, message}
      other -> other
    end
  end

  defp changed(message, _s), do: {:ok, message}

  defp publish(message, s) do
    options = Map.take(message, [:qos, :retain, :properties])

    result = Router.publish(s.context.router, message.topic, message.payload, options, s.session)
    if message.retain and :retained in s.context.hooks.events, do: retained(message, s)

    case result do
      {:ok, :success, _count} -> {:ok, s}
      {:ok, reason, _count} -> {:error, reason, s}
    end
  end

  # There may have been no room for it.
  defp retained(message, s) do
    there = s.context.router |> Router.retained(message.topic) |> Enum.map(& &1.payload)
    if there == List.wrap(kept_payload(message)), do: event({:retained, message}, s)
  end

  defp kept_payload(%{payload: ""}), do: nil
  defp kept_payload(%{payload: payload}), do: payload

  ## Deliveries

  @impl true
  def handle_delivery(topic, payload, opts, s) do
    message = message(topic, payload, opts)

    case authorize_delivery(message, s) do
      :ok ->
        if s.context.hooks.events == [], do: {:send, s}, else: {:send, message, s}

      {:error, reason} ->
        event_of_message(:dropped, {:dropped, message, reason}, s)
        {:drop, s}
    end
  end

  defp authorize_delivery(
         message,
         %{context: %{hooks: %{authorize_delivery: authorize} = hooks}} = s
       ),
       do: authorize.(s.client, message, hooks.args)

  defp authorize_delivery(_message, _s), do: :ok

  @impl true
  def handle_delivered(message, result, s) do
    case result do
      :ok -> event_of_message(:delivered, {:delivered, message}, s)
      # It is in the session, or was told to be discarded with it.
      {:error, :connection_lost} -> :ok
      {:error, reason} -> event_of_message(:dropped, {:dropped, message, reason}, s)
    end

    {:ok, s}
  end

  @impl true
  def handle_dropped(topic, payload, opts, reason, s) do
    event_of_message(:dropped, {:dropped, message(topic, payload, opts), reason}, s)
    {:ok, s}
  end

  defp event_of_message(kind, event, s),
    do: if(kind in s.context.hooks.events, do: event(event, s), else: :ok)

  ## Subscriptions

  @impl true
  def handle_subscribe(filter, qos, s), do: handle_subscribe(filter, qos, %{}, s)

  @impl true
  def handle_subscribe(filter, qos, options, s) do
    with :ok <- may_subscribe(filter, s),
         {:ok, granted} <- authorize_subscribe(filter, qos, options, s) do
      most = Map.get(s.context.connack, :maximum_qos, 2)
      options = Map.merge(options, %{qos: Enum.min([qos, granted, most]), shared: s.shared})
      subscribe(filter, options, s)
    else
      {:error, reason} -> {:error, reason, s}
    end
  end

  defp may_subscribe(_filter, %{rules: nil}), do: :ok

  defp may_subscribe(filter, %{rules: rules}),
    do: if(ACL.may_subscribe?(rules, filter), do: :ok, else: {:error, :not_authorized})

  defp authorize_subscribe(
         filter,
         qos,
         options,
         %{context: %{hooks: %{authorize_subscribe: authorize} = hooks}} = s
       ) do
    case authorize.(s.client, filter, options, hooks.args) do
      :ok -> {:ok, qos}
      other -> other
    end
  end

  defp authorize_subscribe(_filter, qos, _options, _s), do: {:ok, qos}

  defp subscribe(filter, options, s) do
    case Router.subscribe(s.context.router, s.session, filter, options) do
      {:error, reason} ->
        {:error, reason, s}

      {subscribed, cursor} ->
        event({:subscribed, filter, options}, s)
        s = forget_retained(filter, s)

        if retained?(filter, options, subscribed),
          do: {:ok, options.qos, send_retained(filter, options, cursor, s)},
          else: {:ok, options.qos, s}
    end
  end

  # [MQTT-3.3.1-9] to [MQTT-3.3.1-11]; not for shared subscriptions (MQTT 5.0, section 4.8.2).
  defp retained?("$share/" <> _, %{shared: true}, _subscribed), do: false
  defp retained?(_filter, %{retain_handling: 2}, _subscribed), do: false
  defp retained?(_filter, %{retain_handling: 1}, subscribed), do: subscribed == :new
  defp retained?(_filter, _options, _subscribed), do: true

  @impl true
  def handle_unsubscribe(filter, s) do
    if Router.unsubscribe(s.context.router, s.session, filter, %{shared: s.shared}) do
      event({:unsubscribed, filter}, s)
      {:ok, forget_retained(filter, s)}
    else
      {:error, :no_subscription_existed, s}
    end
  end

  # Behind SUBACK, and one subscription after the other.
  defp send_retained(filter, options, cursor, s) do
    unless s.retained_due, do: send(self(), {__MODULE__, :retained})
    %{s | retained: s.retained ++ [{filter, options, cursor}], retained_due: true}
  end

  defp forget_retained(filter, s),
    do: %{s | retained: List.keydelete(s.retained, filter, 0)}

  ## Processes

  @impl true
  def handle_info({__MODULE__, :retained}, %{retained: []} = s),
    do: {:ok, %{s | retained_due: false}}

  def handle_info({__MODULE__, :retained} = again, s) do
    [{filter, options, cursor} | others] = s.retained
    connection = MQTT.Server.connection()

    case Router.send_retained(s.context.router, connection, filter, options, cursor) do
      :done ->
        if others != [], do: send(self(), again)
        {:ok, %{s | retained: others, retained_due: others != []}}

      {:more, cursor} ->
        send(self(), again)
        {:ok, %{s | retained: [{filter, options, cursor} | others]}}

      {:wait, cursor} ->
        Process.send_after(self(), again, @retry)
        {:ok, %{s | retained: [{filter, options, cursor} | others]}}
    end
  end

  def handle_info(_message, s), do: {:ok, s}

  @impl true
  def handle_call(_call, from, s), do: {:ok, s, {:reply, from, {:error, :not_supported}}}

  @impl true
  def handle_cast({:disconnect, reason}, s), do: {:ok, s, {:disconnect, reason}}
  def handle_cast(_cast, s), do: {:ok, s}

  @impl true
  def terminate(reason, s), do: event({:disconnected, reason}, s)

  @impl true
  def code_change(_old_vsn, s, _extra), do: {:ok, s}

  defp event(event, %{context: %{hooks: %{handle_event: handle} = hooks}} = s),
    do: handle.(event, s.client, hooks.args)

  defp event(_event, _s), do: :ok
end
