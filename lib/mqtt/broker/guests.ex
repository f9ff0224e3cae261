defmodule MQTT.Broker.Guests do
  @moduledoc false
  # The connections that are no listener's. They end with the broker, and before its sessions do.

  use GenServer

  alias MQTT.Broker.Context
  alias MQTT.Server.Ending

  # How long they have for that, in milliseconds.
  @patience 5_000

  def child_spec(name) do
    %{id: __MODULE__, start: {__MODULE__, :start_link, [name]}, shutdown: :infinity}
  end

  def start_link(name), do: GenServer.start_link(__MODULE__, name)

  @doc """
  Has the calling process end with the broker. If this one ends before its time, it is told so by a message `{MQTT.Broker.Guests, monitor, :process, pid, reason}`.
  """
  @spec join(Context.t()) :: :ok
  def join(context) do
    guests = Context.process!(context, :guests)
    _ = :erlang.monitor(:process, guests, tag: __MODULE__)
    GenServer.call(guests, :join, :infinity)
  end

  # guests: by their monitors
  @impl true
  def init(name) do
    Process.flag(:trap_exit, true)
    Context.put_process(Context.get!(name), :guests)
    {:ok, %{}}
  end

  @impl true
  def handle_call(:join, {pid, _}, guests),
    do: {:reply, :ok, Map.put(guests, Process.monitor(pid), pid)}

  @impl true
  def handle_info({:DOWN, monitor, _, _, _}, guests), do: {:noreply, Map.delete(guests, monitor)}
  def handle_info(_, guests), do: {:noreply, guests}

  # As by `:sys.terminate/2`, which would wait for each.
  @impl true
  def terminate(_reason, guests) do
    stop = fn pid -> send(pid, {:system, {self(), make_ref()}, {:terminate, :shutdown}}) end
    guests |> Map.values() |> Ending.all(@patience, stop)
  end
end
