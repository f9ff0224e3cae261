defmodule MQTT.Broker.Sessions do
  @moduledoc false
  # The sessions by client identifier, and their end.
  #
  # A row of the table is {client_id, session, user, number, connection}. Each connection has a number, higher than those whose CONNECT
  # came before. Whoever opens the session puts its number there, unless a newer one has, and tells this process,
  # which owns the table and watches the connections, so that a session ends also when its connection was
  # killed. It ends when none is left of those that have opened it, whichever of them has attached to it, by deleting the
  # row of the last number: a client that has come back meanwhile has either put another there, or finds nothing
  # and begins anew. The session itself sees to it that one connection has it at a time, and that a newer one does not lose it
  # to one that was slower.

  use GenServer

  alias MQTT.{Router, Session}
  alias MQTT.Broker.{ACL, Context, Handler, Options, Passwords}
  alias MQTT.Broker.Connection.Retained

  # How often expired retained messages are removed, in milliseconds.
  @expire_every 1_000

  # The longest that a timer can run.
  @longest 0xFFFF_FFFF

  @type client_id :: String.t()

  @typedoc "What is known of a connection: its process, the second when it came, version, Keep Alive, clean session, and peer."
  @type connection ::
          {pid, integer, byte, non_neg_integer, boolean,
           {:inet.ip_address(), :inet.port_number()} | nil}

  @spec start_link(Options.t()) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @doc "The number of a connection whose CONNECT has come."
  @spec number :: pos_integer
  def number, do: System.unique_integer([:monotonic, :positive])

  @doc """
  The session of a client, for the connection of the calling process, which has that number.
  """
  @spec open(Context.t(), client_id, user :: String.t() | nil, number :: pos_integer, connection) ::
          {:ok, Session.t(), :new | :old}
          | {:error, :client_identifier_not_valid | :quota_exceeded | :unspecified_error}
  def open(context, client_id, user, number, connection) do
    case :ets.lookup(context.clients, client_id) do
      [{_, session, ^user, last, _}] when last < number ->
        enter(context, {client_id, session, user, last}, number, connection)

      # The client has come back since, and was quicker.
      [{_, _session, ^user, _last, _}] ->
        {:error, :unspecified_error}

      [] ->
        if :ets.info(context.clients, :size) < context.max_sessions,
          do: enter_new(context, client_id, user, number, connection),
          else: {:error, :quota_exceeded}

      # It is bound to the one who made it.
      [{_, _, _other, _, _}] ->
        {:error, :client_identifier_not_valid}
    end
  end

  # Unless another connection was quicker.
  defp enter_new(context, client_id, user, number, connection) do
    session = Session.new(context.session)

    if :ets.insert_new(context.clients, {client_id, session, user, number, connection}) do
      opened(context, client_id, session, number)
      {:ok, session, :new}
    else
      open(context, client_id, user, number, connection)
    end
  end

  # Unless it was ended in between, or opened by another connection.
  defp enter(context, {client_id, session, user, last}, number, connection) do
    row = {client_id, session, user, last, :_}
    next = {{client_id, session, {:const, user}, number, {:const, connection}}}

    case :ets.select_replace(context.clients, [{row, [], [next]}]) do
      1 ->
        opened(context, client_id, session, number)
        {:ok, session, :old}

      0 ->
        open(context, client_id, user, number, connection)
    end
  end

  defp opened(context, client_id, session, number),
    do: GenServer.cast(context.sessions, {:opened, self(), client_id, session, number})

  @doc "Whether no other connection has opened the session of a client since the one of that number."
  @spec opened_last?(Context.t(), client_id, number :: pos_integer) :: boolean
  def opened_last?(context, client_id, number),
    do: match?([{_, _, _, ^number, _}], :ets.lookup(context.clients, client_id))

  @doc "The clients that have a session, and what was known when they came."
  @spec all(Context.t()) :: [{client_id, Session.t(), known :: map}]
  def all(context) do
    for {client_id, session, user, _number, connection} <- :ets.tab2list(context.clients),
        do: {client_id, session, describe(user, connection)}
  end

  @doc "One of them."
  @spec find(Context.t(), client_id) :: {Session.t(), known :: map} | nil
  def find(context, client_id) do
    case :ets.lookup(context.clients, client_id) do
      [{_, session, user, _number, connection}] -> {session, describe(user, connection)}
      [] -> nil
    end
  end

  defp describe(nil, {pid, since, version, keep_alive, clean, peer}) do
    %{
      pid: pid,
      connected_at: since,
      protocol_version: version,
      keep_alive: keep_alive,
      clean_session: clean,
      peer: peer
    }
  end

  defp describe(user, connection), do: Map.put(describe(nil, connection), :username, user)

  @doc "The sessions by their clients."
  @spec by_client(Context.t()) :: [{client_id, Session.t()}]
  def by_client(context),
    do: :ets.select(context.clients, [{{:"$1", :"$2", :_, :_, :_}, [], [{{:"$1", :"$2"}}]}])

  @doc "Ends the session of a client that is not connected, and says whether there was one."
  @spec delete(Context.t(), client_id) :: boolean
  def delete(context, client_id),
    do: GenServer.call(context.sessions, {:delete, client_id}, :infinity)

  @doc "Reads the password file and the ACL file again. With an error all stays as it is."
  @spec reload(Context.t()) :: :ok | {:error, String.t()}
  def reload(context) do
    # One after the other, so that what was read last is what counts.
    replace = fn ->
      with {:ok, read} <- read(context.files),
           do: GenServer.call(context.sessions, {:replace, read}, :infinity)
    end

    :global.trans({{__MODULE__, context.sessions}, self()}, replace, [node()])
  end

  @doc "How many clients are connected."
  @spec connected(Context.t()) :: non_neg_integer
  def connected(context), do: :counters.get(context.connected, 1)

  @impl true
  def init(options) do
    files = {options.password_file, options.acl_file}

    with {:ok, {passwords, acl}} <- read(files) do
      context = %Context{
        name: options.name,
        router: Router.new(options.router),
        clients: :ets.new(:mqtt_clients, [:public, write_concurrency: true]),
        sessions: self(),
        processes: :ets.new(:mqtt_processes, [:public]),
        retained: Retained.new(),
        hooks: Handler.hooks(options.handler),
        anonymous: options.anonymous,
        passwords: passwords,
        acl: acl,
        files: files,
        connack: options.connack,
        session: options.session,
        connection: options.connection,
        max_sessions: options.max_sessions,
        max_session_expiry_interval: options.max_session_expiry_interval,
        connected: :counters.new(1, []),
        since: System.monotonic_time(:second)
      }

      Context.put(context)
      _ = Process.send_after(self(), :expire, @expire_every)
      connections = :ets.new(:mqtt_connections, [])
      {:ok, %{context: context, timeout: options.takeover_timeout, connections: connections}}
    else
      {:error, sentence} -> {:stop, {:shutdown, sentence}}
    end
  end

  defp read({passwords, acl}) do
    with {:ok, passwords} <- read(passwords, &Passwords.load/1),
         {:ok, acl} <- read(acl, &ACL.load/1),
         do: {:ok, {passwords, acl}}
  end

  defp read(nil, _load), do: {:ok, nil}
  defp read(path, load), do: load.(path)

  # connections: a table, which many clients do not make slow as they would a heap, of {client_id, connections, number, timer}: those who
  # have opened the session and have not ended, with their numbers; the last number; and the timer of a session that nobody has
  @impl true
  def handle_cast({:opened, pid, client_id, session, number}, s) do
    _ = :erlang.monitor(:process, pid, tag: {:ended, client_id, session})
    :counters.add(s.context.connected, 1, 1)
    {connections, last, timer} = connections(client_id, s)
    _ = timer && Process.cancel_timer(timer)
    last = max(number, last)
    connections = [{pid, number} | connections]
    put(client_id, {connections, last, nil}, s)
    # Those before the last one end by themselves, unless a callback keeps them.
    before = for {pid, number} <- connections, number < last, do: pid

    _ =
      if before != [] and s.timeout != :infinity,
        do: Process.send_after(self(), {:stuck, client_id, before, session}, s.timeout)

    {:noreply, s}
  end

  @impl true
  def handle_call({:replace, {passwords, acl}}, _from, s) do
    context = %{s.context | passwords: passwords, acl: acl}
    Context.put(context)
    {:reply, :ok, %{s | context: context}}
  end

  def handle_call({:delete, client_id}, _from, s) do
    # Whoever opened it last may not have been heard of yet.
    with [{_, session, _user, number, connection}] <-
           :ets.lookup(s.context.clients, client_id),
         false <- connection |> elem(0) |> Process.alive?(),
         {[], _last, timer} <- connections(client_id, s) do
      _ = timer && Process.cancel_timer(timer)
      ended = finish(client_id, session, number, s)
      tell(ended, client_id, s.context.hooks)
      {:reply, ended != [], s}
    else
      _ -> {:reply, false, s}
    end
  end

  @impl true
  def handle_info({{:ended, client_id, session}, _monitor, :process, pid, reason}, s) do
    :counters.sub(s.context.connected, 1, 1)
    {connections, last, nil} = connections(client_id, s)
    # What it could not say itself.
    events = if reason == :killed, do: [{:disconnected, :killed}], else: []

    ended =
      case List.keydelete(connections, pid, 0) do
        [] ->
          left(client_id, session, last, s)

        others ->
          put(client_id, {others, last, nil}, s)
          []
      end

    tell(events ++ ended, client_id, s.context.hooks)
    {:noreply, s}
  end

  def handle_info({:stuck, client_id, pids, session}, s) do
    stuck = for pid <- pids, Process.alive?(pid), do: pid
    holder = Session.info(session).connection
    for pid <- stuck, pid != holder, do: Process.exit(pid, :kill)

    # The one behind it may take its time to be let in.
    _ =
      if holder in stuck and match?({[_, _ | _], _, _}, connections(client_id, s)),
        do: Process.send_after(self(), {:stuck, client_id, [holder], session}, s.timeout)

    {:noreply, s}
  end

  def handle_info({:end, client_id, session, number, left}, s) do
    case connections(client_id, s) do
      {[], ^number, _timer} when left == 0 ->
        client_id |> finish(session, number, s) |> tell(client_id, s.context.hooks)

      {[], ^number, _timer} ->
        later(client_id, session, number, left, s)

      # Somebody has come back.
      _ ->
        :ok
    end

    {:noreply, s}
  end

  def handle_info(:expire, s) do
    Router.expire(s.context.router)
    _ = Process.send_after(self(), :expire, @expire_every)
    {:noreply, s}
  end

  def handle_info(_, s), do: {:noreply, s}

  defp connections(client_id, s) do
    case :ets.lookup(s.connections, client_id) do
      [{_, connections, last, timer}] -> {connections, last, timer}
      [] -> {[], 0, nil}
    end
  end

  defp put(client_id, {connections, last, timer}, s),
    do: :ets.insert(s.connections, {client_id, connections, last, timer})

  # Nobody has it any more. Gives the event, if it has ended.
  defp left(client_id, session, number, s) do
    # A DISCONNECT may have made it longer.
    case min(Session.info(session).expiry_interval, s.context.max_session_expiry_interval) do
      0 ->
        finish(client_id, session, number, s)

      :infinity ->
        :ets.delete(s.connections, client_id)
        []

      seconds ->
        later(client_id, session, number, seconds * 1_000, s)
        []
    end
  end

  defp later(client_id, session, number, milliseconds, s) do
    now = min(milliseconds, @longest)
    message = {:end, client_id, session, number, milliseconds - now}
    put(client_id, {[], number, Process.send_after(self(), message, now)}, s)
  end

  # Unless somebody has opened it since, whom this process will hear of.
  defp finish(client_id, session, number, s) do
    :ets.delete(s.connections, client_id)
    row = {client_id, session, :_, number, :_}

    if :ets.select_delete(s.context.clients, [{row, [], [true]}]) == 1 do
      _ = Router.leave(s.context.router, session)
      Retained.forget(s.context, session)
      [:session_ended]
    else
      _ = leave_unless_known(client_id, session, s.context)
      []
    end
  end

  # A connection may have been so slow to tell of itself that its session has ended since.
  defp leave_unless_known(client_id, session, context) do
    unless match?([{_, ^session, _, _, _}], :ets.lookup(context.clients, client_id)) do
      _ = Router.leave(context.router, session)
      Retained.forget(context, session)
    end
  end

  # Not in this process, which has others to see to.
  defp tell([_ | _] = events, client_id, %{handle_event: handle, args: args}) do
    {:ok, _} =
      Task.start(fn -> for event <- events, do: handle.(event, %{client_id: client_id}, args) end)

    :ok
  end

  defp tell(_events, _client_id, _hooks), do: :ok
end
