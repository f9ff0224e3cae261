defmodule MQTT.Broker.Sessions do
  @moduledoc false
  # The sessions by client identifier, and their end.
  #
  # A row of the table is {client_id, session, user, generation, info}. Whoever connects raises the
  # generation, and tells this process, which owns the table and watches the connections, so that a
  # session ends also when its connection was killed. It ends when none is left of those that have
  # opened it, whichever of them has attached to it, by deleting the row of the last generation: a
  # client that has come back meanwhile has either raised it, or finds nothing and begins anew. The
  # session itself sees to it that one connection has it at a time, that of the highest generation.

  use GenServer

  alias MQTT.{Router, Session}
  alias MQTT.Broker.{ACL, Context, Handler, Options, Passwords}

  # How often expired retained messages are removed, in milliseconds.
  @expire_every 1_000

  # The longest that a timer can run.
  @longest 0xFFFF_FFFF

  @type client_id :: String.t()

  @spec start_link(Options.t()) :: GenServer.on_start()
  def start_link(options), do: GenServer.start_link(__MODULE__, options)

  @doc """
  The session of a client, for the connection of the calling process, and how often it has been opened. `info` is what is known of
  the connection.
  """
  @spec open(Context.t(), client_id, user :: String.t() | nil, map) ::
          {:ok, Session.t(), generation :: pos_integer}
          | {:error, :client_identifier_not_valid | :quota_exceeded}
  def open(context, client_id, user, info) do
    case :ets.lookup(context.clients, client_id) do
      [{_, session, ^user, generation, _}] ->
        enter(context, {client_id, session, user, generation}, info)

      [] ->
        if :ets.info(context.clients, :size) < context.max_sessions,
          do: enter_new(context, client_id, user, info),
          else: {:error, :quota_exceeded}

      # It is bound to the one who made it.
      [{_, _, _other, _, _}] ->
        {:error, :client_identifier_not_valid}
    end
  end

  # Unless another connection was quicker.
  defp enter_new(context, client_id, user, info) do
    session = Session.new(context.session)

    if :ets.insert_new(context.clients, {client_id, session, user, 1, info}),
      do: entered(context, client_id, session, 1),
      else: open(context, client_id, user, info)
  end

  # Unless it was ended in between, or opened by another connection.
  defp enter(context, {client_id, session, user, generation}, info) do
    row = {client_id, session, user, generation, :_}
    next = {{client_id, session, {:const, user}, generation + 1, {:const, info}}}

    case :ets.select_replace(context.clients, [{row, [], [next]}]) do
      1 -> entered(context, client_id, session, generation + 1)
      0 -> open(context, client_id, user, info)
    end
  end

  defp entered(context, client_id, session, generation) do
    GenServer.cast(context.sessions, {:opened, self(), client_id, session, generation})
    {:ok, session, generation}
  end

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
        clients: :ets.new(:mqtt_clients, [:public, read_concurrency: true]),
        sessions: self(),
        processes: :ets.new(:mqtt_processes, [:public]),
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
      state = %{context: context, timeout: options.takeover_timeout, opened: %{}, clients: %{}}
      {:ok, state}
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

  # opened: the client of each connection, by its monitor
  # clients: by client identifier, those who have opened its session and have not ended, the last
  # generation, and the timer of a session that nobody has
  @impl true
  def handle_cast({:opened, pid, client_id, session, generation}, s) do
    monitor = Process.monitor(pid)
    :counters.add(s.context.connected, 1, 1)
    client = Map.get(s.clients, client_id, %{pids: [], generation: 0, timer: nil})
    _ = client.timer && Process.cancel_timer(client.timer)

    # The others end by themselves, unless a callback keeps them.
    _ =
      if client.pids != [] and s.timeout != :infinity,
        do: Process.send_after(self(), {:stuck, client_id, client.pids, session}, s.timeout)

    client = %{
      pids: [pid | client.pids],
      generation: max(generation, client.generation),
      timer: nil
    }

    opened = Map.put(s.opened, monitor, {client_id, session})
    {:noreply, %{s | opened: opened, clients: Map.put(s.clients, client_id, client)}}
  end

  @impl true
  def handle_call({:replace, {passwords, acl}}, _from, s) do
    context = %{s.context | passwords: passwords, acl: acl}
    Context.put(context)
    {:reply, :ok, %{s | context: context}}
  end

  def handle_call({:delete, client_id}, _from, s) do
    # Whoever opened it last may not have been heard of yet.
    with [{_, session, _user, generation, %{pid: pid}}] <-
           :ets.lookup(s.context.clients, client_id),
         false <- Process.alive?(pid),
         client = Map.get(s.clients, client_id, %{pids: [], timer: nil}),
         %{pids: []} <- client do
      _ = client.timer && Process.cancel_timer(client.timer)
      {ended, s} = finish(Map.put(client, :generation, generation), client_id, session, s)
      tell(ended, client_id, s.context.hooks)
      {:reply, ended != [], s}
    else
      _ -> {:reply, false, s}
    end
  end

  @impl true
  def handle_info({:DOWN, monitor, _, pid, reason}, s) do
    {{client_id, session}, opened} = Map.pop!(s.opened, monitor)
    :counters.sub(s.context.connected, 1, 1)
    client = Map.fetch!(s.clients, client_id)
    client = %{client | pids: List.delete(client.pids, pid)}
    # What it could not say itself.
    events = if reason == :killed, do: [{:disconnected, :killed}], else: []
    {ended, s} = left(client, client_id, session, %{s | opened: opened})
    tell(events ++ ended, client_id, s.context.hooks)
    {:noreply, s}
  end

  def handle_info({:stuck, client_id, pids, session}, s) do
    stuck = for pid <- pids, Process.alive?(pid), do: pid
    holder = Session.info(session).connection
    for pid <- stuck, pid != holder, do: Process.exit(pid, :kill)

    # The one behind it may take its time to be let in.
    _ =
      if holder in stuck and match?(%{pids: [_, _ | _]}, s.clients[client_id]),
        do: Process.send_after(self(), {:stuck, client_id, [holder], session}, s.timeout)

    {:noreply, s}
  end

  def handle_info({:end, client_id, session, generation, left}, s) do
    case s.clients do
      %{^client_id => %{generation: ^generation, pids: []} = client} when left == 0 ->
        {ended, s} = finish(client, client_id, session, s)
        tell(ended, client_id, s.context.hooks)
        {:noreply, s}

      %{^client_id => %{generation: ^generation, pids: []} = client} ->
        {:noreply, later(client, client_id, session, left, s)}

      # Somebody has come back.
      _ ->
        {:noreply, s}
    end
  end

  def handle_info(:expire, s) do
    Router.expire(s.context.router)
    _ = Process.send_after(self(), :expire, @expire_every)
    {:noreply, s}
  end

  def handle_info(_, s), do: {:noreply, s}

  # Gives the event, if its session has ended.
  defp left(%{pids: []} = client, client_id, session, s) do
    # A DISCONNECT may have made it longer.
    case min(Session.info(session).expiry_interval, s.context.max_session_expiry_interval) do
      0 -> finish(client, client_id, session, s)
      :infinity -> {[], %{s | clients: Map.delete(s.clients, client_id)}}
      seconds -> {[], later(client, client_id, session, seconds * 1_000, s)}
    end
  end

  defp left(client, client_id, _session, s),
    do: {[], %{s | clients: Map.put(s.clients, client_id, client)}}

  defp later(client, client_id, session, milliseconds, s) do
    now = min(milliseconds, @longest)
    message = {:end, client_id, session, client.generation, milliseconds - now}
    client = %{client | timer: Process.send_after(self(), message, now)}
    %{s | clients: Map.put(s.clients, client_id, client)}
  end

  # Unless somebody has opened it since, whom this process will hear of.
  defp finish(client, client_id, session, s) do
    row = {client_id, session, :_, client.generation, :_}

    ended =
      if :ets.select_delete(s.context.clients, [{row, [], [true]}]) == 1 do
        _ = Router.leave(s.context.router, session)
        [:session_ended]
      else
        []
      end

    {ended, %{s | clients: Map.delete(s.clients, client_id)}}
  end

  # Not in this process, which has others to see to.
  defp tell([_ | _] = events, client_id, %{handle_event: handle, args: args}) do
    {:ok, _} =
      Task.start(fn -> for event <- events, do: handle.(event, %{client_id: client_id}, args) end)

    :ok
  end

  defp tell(_events, _client_id, _hooks), do: :ok
end
