defmodule MQTT.Broker.Connection.Entering do
  @moduledoc false
  # Whether a client is let in, and with which session.

  import MQTT.Broker.Connection.Hooks

  alias MQTT.{Reason, Session}
  alias MQTT.Broker.{ACL, Connection, Context, Handler, Passwords, Sessions}
  alias MQTT.Broker.Connection.Retained
  alias MQTT.Server.Accepting

  @type s :: %Connection{}
  @type decision ::
          {:ok, s}
          | {:ok, s, [MQTT.Server.init_action()]}
          | {:continue, map, s}
          | {:error, term, s}

  @doc "CONNECT has come."
  @spec connect(atom, map) :: decision
  def connect(name, params) do
    context = Context.get!(name)
    params = identified(params)
    client = params |> without_secrets() |> Map.put(:data, nil) |> kept()
    s = %Connection{broker: name, client: client, number: Sessions.number()}

    result =
      with :ok <- offered(params, context.connack),
           :ok <- known_method(params, context),
           do: authenticate(context, params)

    authenticated(result, s)
  end

  @doc "A step of an enhanced authentication, of one who connects or is connected."
  @spec authenticate_on(atom, map, s) :: decision
  def authenticate_on(reason, properties, s) do
    properties = Map.put(properties, :reason, reason)
    :handle_auth |> ask([properties], {:error, :not_authorized}, s) |> authenticated(s)
  end

  defp authenticated(:ok, s), do: accept(s)
  defp authenticated({:ok, data}, s), do: s |> with_data(data) |> accept()

  defp authenticated({:ok, data, user}, s) do
    # The session is the one's who was authenticated first.
    if s.session == nil or user == s.client[:username],
      do: s |> with_data(data) |> with_user(user) |> accept(),
      else: refused(:not_authorized, s)
  end

  defp authenticated({:continue, properties, data}, s),
    do: {:continue, properties, with_data(s, data)}

  defp authenticated({:error, {reason, properties}}, s),
    do: refused({named(reason), properties}, s)

  defp authenticated({:error, reason}, s), do: refused(named(reason), s)

  # MQTT 3.1.1 has other numbers.
  defp named(reason), do: if(is_integer(reason), do: Reason.name(reason), else: reason)

  defp with_data(s, data), do: %{s | client: %{s.client | data: data}}

  # The table keeps it, and not what it may be a part of.
  defp with_user(s, user),
    do: %{s | client: Map.put(s.client, :username, :binary.copy(user))}

  # It was connected before.
  defp accept(%{session: session} = s) when session != nil, do: {:ok, s}

  defp accept(%{client: client} = s) do
    context = Context.get!(s.broker)

    case Sessions.open(context, client.client_id, client[:username], s.number, known(client)) do
      {:ok, session, age} ->
        s = %{s | session: session, rules: rules(context, client)}
        connected = connected(age, session, client)
        event({:connected, connected}, s)
        accepted(context, with_retained(context, connected, s))

      {:error, reason} ->
        refused(reason, s)
    end
  end

  # What the connection before was still to send of what is retained. It has the session until this one is connected, so that is seen to
  # by a message. Mostly there is nothing, and then this one is not woken for it.
  defp with_retained(context, connected, s) do
    cond do
      connected == :new or not Retained.due?(context, s.session) -> s
      connected == :resumed -> Connection.go_on_with_retained(s)
      connected == :discarded -> Connection.forget_retained(s)
    end
  end

  # One who is connected already has another end.
  defp refused(reason, s) do
    if s.session == nil, do: event({:refused, reason}, s)
    {:error, reason, s}
  end

  # Unless the client has come back while its handler was told.
  defp accepted(context, %{client: client} = s) do
    if Sessions.opened_last?(context, client.client_id, s.number) do
      will = {:will, {:auto, context.sessions}}
      connack = {:connack, Map.merge(context.connack, expiry(client, context))}
      actions = [{:session, s.session, s.number}, will, connack, route(context, s)]
      {:ok, keep_client(context.hooks, s), deliveries(context.hooks) ++ actions}
    else
      event({:disconnected, {:shutdown, :session_taken_over}}, s)
      {:error, :unspecified_error, s}
    end
  end

  # It is for the handler: where there is none, a million that are silent need not keep it.
  defp keep_client(hooks, s),
    do: if(hooks == Handler.hooks(nil), do: %{s | client: nil}, else: s)

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
    callbacks? =
      is_map_key(hooks, :authorize_publish) or is_map_key(hooks, :handle_publish) or
        :retained in hooks.events

    case {callbacks?, s.rules} do
      {false, nil} -> {:router, router}
      {false, rules} -> {:router, router, rules}
      {true, nil} -> {:router, router, :callbacks}
      {true, rules} -> {:router, router, {:callbacks, rules}}
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

  defp without_secrets(params) do
    params = Map.delete(params, :password)

    with %{properties: properties} <- params,
         do: %{params | properties: Map.delete(properties, :authentication_data)}
  end

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

  defp known(%{protocol_version: version, keep_alive: keep_alive, clean_session: clean} = client),
    do: {self(), System.system_time(:second), version, keep_alive, clean, client.peer}

  # [MQTT-4.12.0-1]
  defp known_method(%{properties: %{authentication_method: _}}, %{hooks: hooks})
       when not is_map_key(hooks, :handle_auth),
       do: {:error, :bad_authentication_method}

  defp known_method(_params, _context), do: :ok

  defp authenticate(%{hooks: %{authenticate: _} = hooks}, params),
    do: answer(:authenticate, [params], hooks)

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
end
