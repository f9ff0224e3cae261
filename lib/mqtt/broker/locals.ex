defmodule MQTT.Broker.Locals do
  @moduledoc false
  # Knows which process of this node has subscribed, and by which MQTT.Broker.Local.

  use GenServer

  alias MQTT.Broker.{Context, Local}

  def start_link({_name, _limit} = argument), do: GenServer.start_link(__MODULE__, argument)

  @doc "Has the stand-in of a process do something. The calling one gets one if it has none, and subscribes."
  @spec call(Context.t(), pid, term) :: term
  def call(context, process, request) do
    locals = Context.process!(context, :locals)
    start? = elem(request, 0) == :subscribe

    with local when is_pid(local) <- GenServer.call(locals, {:local, process, start?}),
         do: GenServer.call(local, request, :infinity)
  end

  @impl true
  def init({name, limit}) do
    context = Context.get!(name)
    Context.put_process(context, :locals)
    {:ok, %{context: context, limit: limit, locals: %{}, monitors: %{}}}
  end

  @impl true
  def handle_call({:local, process, start?}, _from, s) do
    case s.locals do
      %{^process => local} -> {:reply, local, s}
      _ when start? -> start(process, s)
      _ -> {:reply, nil, s}
    end
  end

  defp start(process, s) do
    {:ok, local} = Local.start({s.context, process, s.limit, self()})
    monitors = Map.put(s.monitors, Process.monitor(local), process)
    {:reply, local, %{s | locals: Map.put(s.locals, process, local), monitors: monitors}}
  end

  @impl true
  def handle_info({:DOWN, monitor, _, _, _}, s) do
    {process, monitors} = Map.pop!(s.monitors, monitor)
    {:noreply, %{s | locals: Map.delete(s.locals, process), monitors: monitors}}
  end

  def handle_info(_, s), do: {:noreply, s}
end
