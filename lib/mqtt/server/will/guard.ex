defmodule MQTT.Server.Will.Guard do
  @moduledoc false
  # Publishes the wills of connections that were killed, and so could not do it themselves: for the handler's
  # state that init/2 left. A connection says when it has begun to end by itself.

  use GenServer

  alias MQTT.Server.Will
  alias MQTT.Session

  def start_link(_), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @doc "Watches the connection of the calling process."
  @spec watch(Will.t(), module, state :: term) :: :ok
  def watch(will, module, state),
    do: GenServer.cast(__MODULE__, {:watch, self(), {will, Session.current(), module, state}})

  @doc "The calling process sees to its will itself, or it has none any more."
  @spec leave :: :ok
  def leave, do: GenServer.cast(__MODULE__, {:leave, self()})

  # The monitor of each connection, and what to publish.
  @impl true
  def init(_), do: {:ok, %{}}

  @impl true
  def handle_cast({:watch, connection, what}, watched),
    do: {:noreply, Map.put(watched, connection, {Process.monitor(connection), what})}

  def handle_cast({:leave, connection}, watched) do
    {left, watched} = Map.pop(watched, connection)
    with {monitor, _what} <- left, do: Process.demonitor(monitor, [:flush])
    {:noreply, watched}
  end

  @impl true
  def handle_info({:DOWN, _monitor, _, connection, _}, watched) do
    {{_, {will, session, module, state}}, watched} = Map.pop!(watched, connection)
    publish = fn -> Will.publish_for(connection, will, session, module, state) end

    # If too many wills wait, this one does not.
    _ =
      with {:error, :max_children} <- Will.start(publish),
           do: Task.start(fn -> Will.publish_for(connection, will, nil, module, state) end)

    {:noreply, watched}
  end

  def handle_info(_, watched), do: {:noreply, watched}
end
