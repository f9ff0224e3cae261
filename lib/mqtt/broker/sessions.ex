defmodule MQTT.Broker.Sessions do
  @moduledoc false
  # The sessions by client identifier, and their end.
  #
  # A row of the table is {client_id, session, user, generation, info}. Whoever connects raises the
  # generation before it looks at the session. A session is ended only by deleting the row of a generation, so
  # never behind the back of a client that has come back: either it has raised the generation, or it
  # finds nothing and begins anew. The session itself sees to it that one connection has it at a time.
  #
  # This process owns the table and watches the connections, so that a session ends also when its
  # connection was killed.

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
  The session of a client, for the connection of the calling process. `info` is what is known of it.
  """
  @spec open(Context.t(), client_id, user :: String.t() | nil, map) ::
          {:ok, Session.t(), :new | :old} | {:error, :client_identifier_not_valid}
  def open(context, client_id, user, info) do
    case :ets.lookup(context.clients, client_id) do
      [{_, _, ^user, _, _}] ->
        enter(context, client_id, user, info)

      [] ->
        row = {client_id, Session.new(context.session), user, 0, nil}
        _ = :ets.insert_new(context.clients, row)
        open(context, client_id, user, info)

      # It is bound to the one who made it.
      [{_, _, _other, _, _}] ->
        {:error, :client_identifier_not_valid}
    end
  end

  defp enter(context, client_id, user, info) do
    generation = :ets.update_counter(context.clients, client_id, {4, 1})

    case :ets.lookup(context.clients, client_id) do
      [{_, session, ^user, _, _}] ->
        true = :ets.update_element(context.clients, client_id, {5, info})
        GenServer.cast(context.sessions, {:opened, self(), client_id, session, generation})
        {:ok, session, if(generation == 1, do: :new, else: :old)}

      _ ->
        open(context, client_id, user, info)
    end
  rescue
    # It was ended in between.
    ArgumentError -> open(context, client_id, user, info)
  end

  @doc "How many clients are connected."
  @spec connected(Context.t()) :: non_neg_integer
  def connected(context), do: GenServer.call(context.sessions, :connected)

  # Unless somebody has opened it since.
  defp finish(context, client_id, session, generation) do
    row = {client_id, session, :_, generation, :_}

    if :ets.select_delete(context.clients, [{row, [], [true]}]) == 1 do
      _ = Router.leave(context.router, session)
      ended(client_id, context.hooks)
    end
  end

  # Not in this process, which has others to see to.
  defp ended(client_id, %{handle_event: handle, args: args}) do
    Task.start(fn -> handle.(:session_ended, %{client_id: client_id}, args) end)
  end

  defp ended(_client_id, _hooks), do: :ok

  @impl true
  def init(options) do
    # So that terminate/2 takes back what others find the broker by.
    Process.flag(:trap_exit, true)

    with {:ok, passwords} <- read(options.password_file, &Passwords.load/1),
         {:ok, acl} <- read(options.acl_file, &ACL.load/1) do
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
        connack: options.connack,
        session: options.session
      }

      Context.put(context)
      _ = Process.send_after(self(), :expire, @expire_every)
      state = %{context: context, timeout: options.takeover_timeout, opened: %{}, current: %{}}
      {:ok, state}
    else
      {:error, sentence} -> {:stop, {:shutdown, sentence}}
    end
  end

  defp read(nil, _load), do: {:ok, nil}
  defp read(path, load), do: load.(path)

  # opened: of each connection by its monitor; current: the last connection of a client
  @impl true
  def handle_cast({:opened, pid, client_id, session, generation}, s) do
    monitor = Process.monitor(pid)
    # The one before ends by itself, unless a callback keeps it.
    with %{^client_id => {before, _}} when s.timeout != :infinity <- s.current,
         do: Process.send_after(self(), {:stuck, before, session}, s.timeout)

    {:noreply,
     %{
       s
       | opened: Map.put(s.opened, monitor, {client_id, session, generation}),
         current: Map.put(s.current, client_id, {pid, monitor})
     }}
  end

  @impl true
  def handle_call(:connected, _from, s), do: {:reply, map_size(s.current), s}

  @impl true
  def handle_info({:DOWN, monitor, _, _, _}, s) do
    {{client_id, session, generation} = ended, opened} = Map.pop!(s.opened, monitor)

    case Session.info(session).expiry_interval do
      0 -> finish(s.context, client_id, session, generation)
      :infinity -> :ok
      seconds -> later(seconds * 1_000, ended)
    end

    current =
      case s.current do
        %{^client_id => {_, ^monitor}} -> Map.delete(s.current, client_id)
        current -> current
      end

    {:noreply, %{s | opened: opened, current: current}}
  end

  def handle_info({:stuck, pid, session}, s) do
    if Session.info(session).connection != pid, do: Process.exit(pid, :kill)
    {:noreply, s}
  end

  def handle_info({:end, {client_id, session, generation}, 0}, s) do
    finish(s.context, client_id, session, generation)
    {:noreply, s}
  end

  def handle_info({:end, opened, left}, s) do
    later(left, opened)
    {:noreply, s}
  end

  def handle_info(:expire, s) do
    Router.expire(s.context.router)
    _ = Process.send_after(self(), :expire, @expire_every)
    {:noreply, s}
  end

  def handle_info(_, s), do: {:noreply, s}

  defp later(milliseconds, opened) do
    now = min(milliseconds, @longest)
    Process.send_after(self(), {:end, opened, milliseconds - now}, now)
  end

  @impl true
  def terminate(_reason, s), do: Context.delete(s.context.name)
end
