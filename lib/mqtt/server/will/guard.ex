defmodule MQTT.Server.Will.Guard do
  @moduledoc false
  # Publishes the wills of connections that have ended without doing it themselves: because they were killed, or because
  # theirs has to wait. They are in a table, a row for each connection, with the handler's state that init/2 left, or that of
  # the end. The table is the application's, so that a successor of this process finds them.

  use GenServer

  alias MQTT.Server.Will
  alias MQTT.Session

  @table __MODULE__

  # How long to wait when there can be no further process, in milliseconds.
  @exhausted 100

  @doc "Makes the table, for the application."
  @spec new_table :: :ok
  def new_table do
    _ = :ets.new(@table, [:named_table, :public, write_concurrency: true])
    :ok
  end

  def start_link(_), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @doc "Watches the connection of the calling process, and publishes its will when it has ended, unless it calls `leave/0`."
  @spec watch(Will.t(), module, state :: term) :: :ok
  def watch(will, module, state) do
    _ = if there?(), do: :ets.insert(@table, {self(), will, Session.current(), module, state})
    GenServer.cast(__MODULE__, {:watch, self()})
  end

  @doc "The calling process has seen to its will itself, or has none any more."
  @spec leave :: :ok
  def leave do
    _ = if there?(), do: :ets.delete(@table, self())
    :ok
  end

  # Where the application does not run, a connection publishes its own will, or nobody does.
  defp there?, do: :ets.whereis(@table) != :undefined

  @impl true
  def init(_) do
    for [connection] <- :ets.match(@table, {:"$1", :_, :_, :_, :_}),
        do: Process.monitor(connection)

    {:ok, nil}
  end

  @impl true
  def handle_cast({:watch, connection}, s) do
    _ = Process.monitor(connection)
    {:noreply, s}
  end

  @impl true
  def handle_info({:DOWN, _monitor, _, connection, _}, s), do: publish(connection, s)
  def handle_info({:publish, connection}, s), do: publish(connection, s)
  def handle_info(_, s), do: {:noreply, s}

  defp publish(connection, s) do
    for {^connection, will, session, module, state} <- :ets.lookup(@table, connection) do
      publish = fn session -> Will.publish_for(connection, will, session, module, state) end

      _ =
        case start(publish, session) do
          {:ok, _} -> :ets.delete(@table, connection)
          _ -> Process.send_after(self(), {:publish, connection}, @exhausted)
        end
    end

    {:noreply, s}
  end

  # If too many wills wait, this one does not. There may also be too many processes.
  defp start(publish, session) do
    with {:error, :max_children} <- Will.start(fn -> publish.(session) end),
         do: Task.start(fn -> publish.(nil) end)
  catch
    _, _ -> :error
  end
end
