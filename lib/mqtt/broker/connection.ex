defmodule MQTT.Broker.Connection do
  @moduledoc false
  # A client of a broker, by the callbacks of MQTT.Server.

  @behaviour MQTT.Server

  alias MQTT.{Message, Router, Session}
  alias MQTT.Broker.{ACL, Context, Passwords, Sessions}
  alias MQTT.Server.Accepting

  # How long to wait before a client is looked at again that has not read what was retained, in milliseconds: at first, and at most.
  @retry 20
  @longest_retry 1_000

  @enforce_keys [:broker, :client]
  defstruct @enforce_keys ++ [session: nil, rules: nil, retained: [], retained_due: false]

  # broker: its name, by which what all have in common is found. Here it would be copied for each will that is kept.
  # rules: of the ACL file, if there is one
  # retained: {filter, options, cursor} of the subscriptions that what is retained is being sent for
  # retained_due: whether a message that goes on with these is on its way, of which there is one at most

  @impl true
  def init(name, params) do
    context = Context.get!(name)
    params = identified(params)
    client = params |> Map.delete(:password) |> Map.put(:data, nil) |> kept()
    s = %__MODULE__{broker: name, client: client}

    result =
      with :ok <- offered(params, context.connack),
           :ok <- known_method(params, context),
           do: authenticate(context, params)

    with {:error, reason, _} <- authenticated(result, s), do: {:stop, reason}
  end

  # A step of an enhanced authentication, of one who connects or is connected.
  @impl true
  def handle_auth(reason, properties, s) do
    properties = Map.put(properties, :reason, reason)
    :handle_auth |> ask([properties], {:error, :not_authorized}, s) |> authenticated(s)
  end

  defp authenticated(:ok, s), do: accept(s)
  defp authenticated({:ok, data}, s), do: s |> with_data(data) |> accept()

  defp authenticated({:ok, data, user}, s) do
    # The session is the one's who was authenticated first.
    if s.session == nil or user == s.client[:username],
      do: s |> with_data(data) |> with_user(user) |> accept(),
      else: {:error, :not_authorized, s}
  end

  defp authenticated({:continue, properties, data}, s),
    do: {:continue, properties, with_data(s, data)}

  defp authenticated({:error, reason}, s), do: {:error, reason, s}

  defp with_data(s, data), do: %{s | client: %{s.client | data: data}}

  # The table keeps it, and not what it may be a part of.
  defp with_user(s, user),
    do: %{s | client: Map.put(s.client, :username, :binary.copy(user))}

  # It was connected before.
  defp accept(%{session: session} = s) when session != nil, do: {:ok, s}

  defp accept(%{client: client} = s) do
    context = Context.get!(s.broker)

    case Sessions.open(context, client.client_id, client[:username], info(client)) do
      {:ok, session, age} ->
        s = %{s | session: session, rules: rules(context, client)}
        event({:connected, connected(age, session, client)}, s)
        accepted(context, s)

      {:error, reason} ->
        {:error, reason, s}
    end
  end

  # Unless the client has come back while its handler was told, and is not to lose its session to this connection.
  defp accepted(context, %{client: client} = s) do
    if Sessions.opened_last?(context, client.client_id) do
      will = {:will, {:auto, context.sessions}}
      connack = {:connack, Map.merge(context.connack, expiry(client, context))}
      actions = [{:session, s.session}, will, connack, route(context, s)]
      {:ok, s, deliveries(context.hooks) ++ actions}
    else
      event({:disconnected, {:shutdown, :session_taken_over}}, s)
      {:error, :unspecified_error, s}
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

  # If it is not as long as the client hopes. Before MQTT 5.0 the session has no other end, and the client is not told.
  defp expiry(%{protocol_version: 5} = client, %{max_session_expiry_interval: most}) do
    if Map.get(client.properties, :session_expiry_interval, 0) > most,
      do: %{session_expiry_interval: most},
      else: %{}
  end

  defp expiry(_client, %{max_session_expiry_interval: :infinity}), do: %{}
  defp expiry(_client, %{max_session_expiry_interval: most}), do: %{session_expiry_interval: most}

  defp route(%{hooks: hooks, router: router}, s) do
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

  # CONNACK tells it to clients of MQTT 5.0 only. [MQTT-3.2.2-12] [MQTT-3.2.2-13]
  defp offered(%{protocol_version: 5, last_will: will}, connack) do
    cond do
      will.qos > Map.get(connack, :maximum_qos, 2) -> {:error, :qos_not_supported}
      will.retain and connack[:retain_available] == 0 -> {:error, :retain_not_supported}
      true -> :ok
    end
  end

  defp offered(_params, _connack), do: :ok

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
         :ok <- ask(:authorize_publish, [message], :ok, s),
         {:ok, message} <- changed(message, s) do
      if opts[:will], do: event({:will_published, message}, s)
      if superseded?(opts, s), do: {:ok, s}, else: publish(message, s)
    else
      :drop -> {:ok, s}
      {:error, reason} -> {:error, reason, s}
    end
  end

  # A message of QoS 2 whose client has come back meanwhile: it has no PUBREC, sends it again, and it goes its way then.
  defp superseded?(%{will: true}, _s), do: false
  defp superseded?(%{qos: 2}, s), do: Session.info(s.session).connection != self()
  defp superseded?(_opts, _s), do: false

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

  defp changed(message, s),
    do: with(:ok <- ask(:handle_publish, [message], :ok, s), do: {:ok, message})

  defp publish(message, s) do
    %{router: router, hooks: hooks} = Context.get!(s.broker)
    options = Map.take(message, [:qos, :retain, :properties])
    result = Router.publish(router, message.topic, message.payload, options, s.session)
    if message.retain and :retained in hooks.events, do: retained(message, router, s)

    case result do
      {:ok, :success, _count} -> {:ok, s}
      {:ok, reason, _count} -> {:error, reason, s}
    end
  end

  # There may have been no room for it.
  defp retained(message, router, s) do
    there = router |> Router.retained(message.topic) |> Enum.map(& &1.payload)
    if there == List.wrap(kept_payload(message)), do: event({:retained, message}, s)
  end

  defp kept_payload(%{payload: ""}), do: nil
  defp kept_payload(%{payload: payload}), do: payload

  ## Deliveries

  @impl true
  def handle_delivery(topic, payload, opts, s) do
    message = message(topic, payload, opts)

    case ask(:authorize_delivery, [message], :ok, s) do
      :ok ->
        if told?(:delivered, s) or told?(:dropped, s), do: {:send, message, s}, else: {:send, s}

      {:error, reason} ->
        event_of_message(:dropped, {:dropped, message, reason}, s)
        {:drop, s}
    end
  end

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

  defp event_of_message(kind, event, s), do: if(told?(kind, s), do: event(event, s), else: :ok)

  defp told?(kind, s), do: kind in Context.get!(s.broker).hooks.events

  ## Subscriptions

  @impl true
  def handle_subscribe(filter, qos, s), do: handle_subscribe(filter, qos, %{}, s)

  @impl true
  def handle_subscribe(filter, qos, options, s) do
    with :ok <- may_subscribe(filter, s),
         {:ok, granted} <- authorize_subscribe(filter, qos, options, s) do
      most = Map.get(Context.get!(s.broker).connack, :maximum_qos, 2)
      options = Map.put(options, :qos, Enum.min([qos, granted, most]))
      subscribe(filter, options, s)
    else
      {:error, reason} -> {:error, reason, s}
    end
  end

  defp may_subscribe(_filter, %{rules: nil}), do: :ok

  defp may_subscribe(filter, %{rules: rules}),
    do: if(ACL.may_subscribe?(rules, filter), do: :ok, else: {:error, :not_authorized})

  defp authorize_subscribe(filter, qos, options, s),
    do: with(:ok <- ask(:authorize_subscribe, [filter, options], :ok, s), do: {:ok, qos})

  defp subscribe(filter, options, s) do
    case Router.subscribe(router(s), s.session, filter, options) do
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
    if Router.unsubscribe(router(s), s.session, filter) do
      event({:unsubscribed, filter}, s)
      {:ok, forget_retained(filter, s)}
    else
      {:error, :no_subscription_existed, s}
    end
  end

  # Behind SUBACK, and one subscription after the other.
  defp send_retained(filter, options, cursor, s) do
    unless s.retained_due, do: send_more(@retry)
    %{s | retained: s.retained ++ [{filter, options, cursor}], retained_due: true}
  end

  defp forget_retained(filter, s),
    do: %{s | retained: List.keydelete(s.retained, filter, 0)}

  ## Processes

  @impl true
  def handle_info({__MODULE__, :retained, _retry}, %{retained: []} = s),
    do: {:ok, %{s | retained_due: false}}

  def handle_info({__MODULE__, :retained, retry}, s) do
    [{filter, options, cursor} | others] = s.retained
    connection = MQTT.Server.connection()

    case Router.send_retained(router(s), connection, filter, options, cursor) do
      :done ->
        if others != [], do: send_more(@retry)
        {:ok, %{s | retained: others, retained_due: others != []}}

      {:more, cursor} ->
        send_more(@retry)
        {:ok, %{s | retained: [{filter, options, cursor} | others]}}

      {:wait, cursor} ->
        again = {__MODULE__, :retained, min(2 * retry, @longest_retry)}
        _ = Process.send_after(self(), again, retry)
        {:ok, %{s | retained: [{filter, options, cursor} | others]}}
    end
  end

  def handle_info(_message, s), do: {:ok, s}

  defp send_more(retry), do: send(self(), {__MODULE__, :retained, retry})

  @impl true
  def handle_call(_call, from, s), do: {:ok, s, {:reply, from, {:error, :not_supported}}}

  @impl true
  def handle_cast({:disconnect, reason}, s), do: {:ok, s, {:disconnect, reason}}
  def handle_cast(_cast, s), do: {:ok, s}

  @impl true
  def terminate(reason, s), do: event({:disconnected, reason}, s)

  @impl true
  def code_change(_old_vsn, s, _extra), do: {:ok, s}

  defp event(event, s) do
    case Context.get!(s.broker).hooks do
      %{handle_event: handle, args: args} -> handle.(event, s.client, args)
      _ -> :ok
    end
  end

  # What a callback of the broker's handler says, if it has that.
  defp ask(callback, arguments, otherwise, s) do
    case Context.get!(s.broker).hooks do
      %{^callback => function, args: args} -> apply(function, [s.client | arguments] ++ [args])
      _ -> otherwise
    end
  end

  defp router(s), do: Context.get!(s.broker).router
end
