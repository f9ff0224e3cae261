defmodule MQTT.Broker do
  @moduledoc """
  A whole MQTT broker as one child of a supervision tree, for MQTT 3.1, 3.1.1 and 5.0.

      children = [
        {MQTT.Broker, port: 1883}
      ]

      Supervisor.start_link(children, strategy: :one_for_one)

  Messages go from client to client natively, without a process of the subscriber being woken, nor one of the publisher unless
  it floods (`MQTT.Router`). Sessions last as long as their clients ask for, with all that waits for them, in memory: they are data, and
  an offline one has no process. There are retained messages, wills, shared subscriptions, and everything else
  of MQTT 5.0. A filter of more than ten levels with several `+` may be refused as `:quota_exceeded`, see `MQTT.Router.subscribe/4`.

  A session belongs to the user who made it: whoever else comes with its client identifier is refused as `:client_identifier_not_valid`, until it has ended or `delete_session/2` ends it, as may be due when passwords are introduced.

  Without further options only clients from this machine are let in. With `password_file:` all of them need a user name and its
  password, with `anonymous: true` those without a user name are let in, from anywhere, and a `MQTT.Broker.Handler` decides as it likes. Where nobody asks for a
  password, a user name is what a client says it is, also to an `acl_file:`. To a broker behind a proxy on the same machine all clients come from this machine.

  The functions here exit with `{:noproc, {MQTT.Broker, name}}` where there is no broker of that name. What is kept is lost when the broker ends: nothing is written to disk.

  ## Options

  #{MQTT.Options.docs(MQTT.Broker.Options.schema())}
  Those of `MQTT.Router` belong here as well:

  #{MQTT.Options.docs(MQTT.Router.schema())}
  So do those of `MQTT.Listener`, but for its `:handler`, `:name` and `:id`. They are the first listener's, and what the others of `:listeners` have where
  they say nothing else:

  #{MQTT.Options.docs(MQTT.Broker.Options.listener_schema())}

  ## $SYS

  Below `$SYS/broker/` the broker publishes, retained, with the names of mosquitto: `version`, `uptime`, `clients/connected`, `clients/disconnected`,
  `clients/total`, `subscriptions/count`, `retained messages/count`, `store/messages/bytes` (of what is retained), `publish/messages/received`, and
  `publish/messages/sent`, which counts to how many subscribers messages went. What is published there itself is not counted.
  """

  use Supervisor

  alias MQTT.{Router, Session}
  alias MQTT.Broker.{Context, Guests, Locals, Options, Sessions, Sys}

  # The supervisor of all but the sessions.
  @services MQTT.Broker.Services

  @typedoc "The name of a broker."
  @type t :: atom

  @doc "A child specification whose id is `{MQTT.Broker, name}`."
  @spec child_spec(keyword) :: Supervisor.child_spec()
  def child_spec(options) do
    name = if Keyword.keyword?(options), do: Keyword.get(options, :name, __MODULE__)

    %{
      id: {__MODULE__, name},
      start: {__MODULE__, :start_link, [options]},
      type: :supervisor,
      shutdown: :infinity
    }
  end

  @doc """
  Starts a broker.

  A wrong option raises an `ArgumentError` that names it. Of a file that cannot be read there is an error with a sentence inside, `{:error, {:shutdown,
  {:failed_to_start_child, _, {:shutdown, sentence}}}}`, and of an address that cannot be bound one with `{:listen, posix}`, nested as supervisors do.

      iex> {:ok, broker} = MQTT.Broker.start_link(name: :example, ip: {127, 0, 0, 1}, port: 0)
      iex> [%{connections: 0}] = MQTT.Broker.listeners(:example)
      iex> MQTT.Broker.publish(:example, "a/b", "hello", %{retain: true})
      {:ok, :no_matching_subscribers, 0}
      iex> [%MQTT.Message{payload: "hello"}] = Enum.to_list(MQTT.Broker.retained(:example, "a/+"))
      iex> Supervisor.stop(broker)
      :ok

  """
  @spec start_link(keyword) :: Supervisor.on_start()
  def start_link(options) do
    options = Options.new(options)
    Supervisor.start_link(__MODULE__, options, name: options.name)
  end

  @impl true
  def init(options) do
    # Without its sessions, or without the processes that have subscribed, it is another broker: then it ends, as its own supervisor and
    # those who monitor it get to know. A service is started again alone.
    locals = {Locals, {options.name, options.max_process_messages}}
    children = [{Context, options.name}, {Sessions, options}, locals, together(services(options))]
    Supervisor.init(children, strategy: :one_for_one, max_restarts: 0)
  end

  # In this order, so that the clients are told of the end first.
  defp services(options) do
    listeners =
      for {listener, number} <- Enum.with_index(options.listeners) do
        # Not by address: two may have port 0.
        Supervisor.child_spec({MQTT.Listener, listener}, id: {MQTT.Listener, number})
      end

    sys =
      if options.sys_interval == :infinity,
        do: [],
        else: [{Sys, {options.name, options.sys_interval}}]

    [{Guests, options.name} | sys] ++ listeners
  end

  defp together(services) do
    start = {Supervisor, :start_link, [services, [strategy: :one_for_one]]}
    %{id: @services, start: start, type: :supervisor, shutdown: :infinity}
  end

  @doc "What `MQTT.Listener.info/1` says of each listener, in their order."
  @spec listeners(t) :: [MQTT.Listener.info()]
  def listeners(broker), do: each_listener(broker, &MQTT.Listener.info/1)

  @doc """
  Closes the listening sockets, as `MQTT.Listener.suspend/1` does: no further client comes, those that are connected stay. So a
  broker is emptied before it stops. A listener that has crashed meanwhile is started anew, and listens.

      iex> {:ok, broker} = MQTT.Broker.start_link(name: :suspended, ip: {127, 0, 0, 1}, port: 0)
      iex> :ok = MQTT.Broker.suspend(:suspended)
      iex> [%{suspended: true}] = MQTT.Broker.listeners(:suspended)
      iex> MQTT.Broker.resume(:suspended)
      :ok
      iex> Supervisor.stop(broker)
      :ok

  """
  @spec suspend(t) :: :ok
  def suspend(broker) do
    _ = each_listener(broker, &MQTT.Listener.suspend/1)
    :ok
  end

  @doc "Listens again. The first error is that of `MQTT.Listener.resume/1`."
  @spec resume(t) :: :ok | {:error, :inet.posix()}
  def resume(broker) do
    broker |> each_listener(&MQTT.Listener.resume/1) |> Enum.find(:ok, &(&1 != :ok))
  end

  defp each_listener(broker, call) do
    %{name: name} = Context.get!(broker)

    children =
      for {@services, services, _, _} when is_pid(services) <- Supervisor.which_children(name),
          child <- Supervisor.which_children(services),
          do: child

    found = for {{MQTT.Listener, number}, pid, _, _} <- children, is_pid(pid), do: {number, pid}
    for {_number, pid} <- Enum.sort(found), do: call.(pid)
  end

  @doc """
  Turns the calling process into the connection of a client of the broker, and never returns: for sockets that were accepted otherwise than by its
  listeners, as those of TLS. It is `MQTT.Server.enter_loop/4`, whose options it takes, but for those of sessions; what they do not say is as
  with the listeners. The connection ends with the broker. Neither `:max_connections` nor `suspend/1` is about these.

      defmodule TLS do
        use Task, restart: :permanent

        def start_link(options), do: Task.start_link(__MODULE__, :run, [options])

        def run(options) do
          # Otherwise who speaks no TLS is logged.
          quiet = [log_level: :error]
          options = [:binary, active: false, reuseaddr: true, backlog: 1024] ++ quiet ++ options
          {:ok, listener} = :ssl.listen(8883, options)
          accept(listener)
        end

        defp accept(listener) do
          case :ssl.transport_accept(listener) do
            {:ok, socket} ->
              pid = :proc_lib.spawn(fn -> serve() end)
              _ = :ssl.controlling_process(socket, pid)
              send(pid, {:yours, socket})

            # As when there are too many open files.
            {:error, _reason} ->
              Process.sleep(100)
          end

          accept(listener)
        end

        defp serve do
          receive do
            {:yours, socket} ->
              with {:ok, socket} <- :ssl.handshake(socket, 5_000) do
                MQTT.Broker.enter_loop(MQTT.Broker, MQTT.Transport.new(:ssl, socket))
              end
          end
        end
      end

      # There is always one without TLS: for this machine.
      children = [
        {MQTT.Broker, ip: {127, 0, 0, 1}, password_file: "passwords"},
        {TLS, certfile: "cert.pem", keyfile: "key.pem"}
      ]

  A handler's `c:MQTT.Broker.Handler.authenticate/2` gets the client's certificate.
  """
  @spec enter_loop(t, MQTT.Transport.t(), keyword) :: no_return
  def enter_loop(broker, transport, options \\ []) do
    context = Context.get!(broker)
    options = Options.of_connection(options, context.connection)
    Guests.join(context)
    MQTT.Server.enter_loop(MQTT.Broker.Connection, broker, transport, options)
  end

  @doc """
  Reads the password file and the ACL file again, and says `:ok`, or `{:error, sentence}` if one of them is wrong: then what was read before goes on to count. Clients
  that are connected may do what they might until they connect again, see `disconnect/3`; then the subscriptions of their sessions end that
  they may not have any more, and what has waited of them is dropped. Of these a handler is not told that they are `:unsubscribed`.
  """
  @spec reload(t) :: :ok | {:error, String.t()}
  def reload(broker), do: broker |> Context.get!() |> Sessions.reload()

  @doc """
  Publishes a message to those who have subscribed to its topic, as `MQTT.Router.publish/5` does.
  """
  @spec publish(t, topic :: iodata, message :: iodata, map | keyword) ::
          {:ok, MQTT.Reason.t(), non_neg_integer}
  def publish(broker, topic, message, options \\ %{}),
    do: Router.publish(Context.get!(broker).router, topic, message, options)

  @doc """
  Subscribes the calling process to a filter: messages come as `{:mqtt, broker, %MQTT.Message{}}`, at first those that are retained. The option `:qos` is
  0 by default, and `$share/group/filter` shares them with others. Of a message that several of its filters match, a process gets one copy; with the option
  `:subscription_identifier`, a number, the message's properties say which of them these are.

  The subscription ends with the process, and with the broker, whose name can be monitored. While `:max_process_messages` wait in its mailbox, further ones are
  dropped: `dropped/2` says how many.

  `{:error, :quota_exceeded}` says that there is no room for such a filter, see `MQTT.Router.subscribe/4`.

      iex> {:ok, broker} = MQTT.Broker.start_link(name: :local_example, ip: {127, 0, 0, 1}, port: 0)
      iex> :ok = MQTT.Broker.subscribe(:local_example, "a/+")
      iex> MQTT.Broker.publish(:local_example, "a/b", "hello")
      {:ok, :success, 1}
      iex> receive do {:mqtt, :local_example, message} -> message.payload end
      "hello"
      iex> MQTT.Broker.unsubscribe(:local_example, "a/+")
      true
      iex> Supervisor.stop(broker)
      :ok

  """
  @spec subscribe(t, filter :: String.t(), map | keyword) :: :ok | {:error, :quota_exceeded}
  def subscribe(broker, filter, options \\ %{}) do
    options = MQTT.Options.to_map(options)

    MQTT.Options.subscription!(filter, options)

    case Locals.call(Context.get!(broker), self(), {:subscribe, filter, options}) do
      {:error, {:invalid, :badarg}} ->
        raise ArgumentError,
              "a topic filter must be a string and its options a map of those that " <>
                "MQTT.Router.subscribe/4 takes, got: #{inspect(filter)} and #{inspect(options)}"

      {:error, {:invalid, reason}} ->
        why = MQTT.Reason.words(reason)
        raise ArgumentError, "#{inspect(filter)} is no topic filter: #{why}"

      result ->
        result
    end
  end

  @doc "Ends a subscription of the calling process, and says whether there was one."
  @spec unsubscribe(t, filter :: String.t()) :: boolean
  def unsubscribe(broker, filter),
    do: Locals.call(Context.get!(broker), self(), {:unsubscribe, filter}) || false

  @doc "How many messages a process did not get that has subscribed, since its first subscription."
  @spec dropped(t, pid) :: non_neg_integer
  def dropped(broker, process \\ self()),
    do: Locals.call(Context.get!(broker), process, {:dropped}) || 0

  @doc "The retained messages that a filter matches, by their topics, as `MQTT.Router.retained/2`."
  @spec retained(t, filter :: String.t()) :: Enumerable.t()
  def retained(broker, filter), do: Router.retained(Context.get!(broker).router, filter)

  @typedoc """
  A client: its identifier; what its session holds (`t:MQTT.Session.info/0`); whether it is connected; and what was
  known when it came: `:pid`, `:username`, `:protocol_version`, `:keep_alive`, `:clean_session`, `:peer`, and the
  second since 1970 that it was, `:connected_at`. Of one that is away the `:pid` has ended.
  """
  @type client :: %{
          required(:client_id) => String.t(),
          required(:session) => Session.info(),
          required(:connected) => boolean,
          optional(atom) => term
        }

  @doc "The clients that are connected or have a session."
  @spec clients(t) :: [client]
  def clients(broker) do
    context = Context.get!(broker)

    for {client_id, session, known} <- Sessions.all(context),
        do: client(client_id, session, known, context)
  end

  @doc "A client by its identifier, or `nil`."
  @spec info(t, client_id :: String.t()) :: client | nil
  def info(broker, client_id) do
    context = Context.get!(broker)

    with {session, known} <- Sessions.find(context, client_id),
         do: client(client_id, session, known, context)
  end

  defp client(client_id, session, known, context) do
    session = Session.info(session)
    # A DISCONNECT may have wanted more.
    expiry = min(session.expiry_interval, context.max_session_expiry_interval)
    session = %{session | expiry_interval: expiry}

    Map.merge(known, %{
      client_id: client_id,
      session: session,
      connected: session.connection != nil
    })
  end

  @doc "All subscriptions of clients, one after the other: client identifier, filter, and options."
  @spec subscriptions(t) :: Enumerable.t()
  def subscriptions(broker) do
    broker
    |> Context.get!()
    |> Sessions.by_client()
    |> Stream.flat_map(fn {client_id, session} ->
      for {filter, options} <- Session.subscriptions(session), do: {client_id, filter, options}
    end)
  end

  @doc "The subscriptions of a client, as `MQTT.Session.subscriptions/1`."
  @spec subscriptions(t, client_id :: String.t()) :: [{filter :: String.t(), map}]
  def subscriptions(broker, client_id) do
    case Sessions.find(Context.get!(broker), client_id) do
      {session, _known} -> Session.subscriptions(session)
      nil -> []
    end
  end

  @doc """
  Disconnects a client, which is told the reason in MQTT 5.0. Its session stays as it is. Says whether it was connected.
  """
  @spec disconnect(t, client_id :: String.t(), MQTT.Reason.t()) :: boolean
  def disconnect(broker, client_id, reason \\ :administrative_action) do
    # A name that is none raises here.
    code = MQTT.Reason.code(reason)

    unless code == 0x00 or code >= 0x80,
      do: raise(ArgumentError, "a broker does not disconnect a client for #{inspect(reason)}")

    case info(broker, client_id) do
      %{session: %{connection: pid}} when pid != nil ->
        GenServer.cast(pid, {:disconnect, reason})
        true

      _ ->
        false
    end
  end

  @doc """
  Ends the session of a client that is not connected, with its subscriptions and what waits for it, before its time. Says whether there was
  one: for a client that is connected this is `false`, and `disconnect/3` comes first.
  """
  @spec delete_session(t, client_id :: String.t()) :: boolean
  def delete_session(broker, client_id), do: Sessions.delete(Context.get!(broker), client_id)

  @doc "What the broker holds: `t:MQTT.Router.info/0`. What it retains below `$SYS/` counts as retained, and not as received or sent."
  @spec stats(t) :: Router.info()
  def stats(broker), do: Router.info(Context.get!(broker).router)
end
