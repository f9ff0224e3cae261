defmodule MQTT.Listener.Connections do
  @moduledoc false
  # Accepts clients, starts a process for each that has sent its CONNECT, and is their supervisor: none of them is
  # started again, so all there is to know of them is who they are, which the links say.

  use GenServer

  alias MQTT.Native
  alias MQTT.Server.{Connection, Ending, Poller}

  # How long to wait when there can be no further descriptor or process, in milliseconds.
  @exhausted 100

  @enforce_keys [:parent, :listener, :start, :shutdown_timeout]
  defstruct @enforce_keys ++ [owed: 0, exhausted: false]

  # start: what each process is given.
  # owed: how many there could not be yet. Then a message is on its way that has them tried again.
  # exhausted: there were no descriptors. Then a message is on its way that has them tried again.

  def child_spec(argument) do
    %{
      id: __MODULE__,
      start: {__MODULE__, :start_link, [argument]},
      type: :supervisor,
      shutdown: :infinity
    }
  end

  def start_link({listener, options}) do
    GenServer.start_link(__MODULE__, {self(), listener, options})
  end

  @impl true
  def init({parent, listener, options}) do
    Process.flag(:trap_exit, true)
    {module, args} = options.handler
    start = Connection.start_arguments(module, args, options.server)
    watch_poller()

    case Native.listener_attend(listener) do
      :ok ->
        {:ok,
         %__MODULE__{
           parent: parent,
           listener: listener,
           start: start,
           shutdown_timeout: options.shutdown_timeout
         }}

      {:error, reason} ->
        {:stop, {:listen, reason}}
    end
  end

  @impl true
  def handle_info({:"$mqtt", what}, s) when what in [:readable, :accepted],
    do: {:noreply, accept(s)}

  def handle_info(:accept, s), do: {:noreply, accept(%{s | exhausted: false})}

  def handle_info({:DOWN, _, :process, {Poller, _}, reason}, s) do
    # There is none if none could be started.
    _ = Process.send_after(self(), :watch_poller, if(reason == :noproc, do: @exhausted, else: 0))
    {:noreply, s}
  end

  def handle_info(:watch_poller, s) do
    watch_poller()
    {:noreply, s}
  end

  def handle_info(:start, s), do: {:noreply, start(s.owed, s)}
  def handle_info(_message_or_exit, s), do: {:noreply, s}

  # Who tells of clients. The application of which it is may stop.
  defp watch_poller do
    Poller.ensure_started()
    _ = Process.monitor(Poller)
    :ok
  end

  defp accept(s) do
    {count, next} = Native.listener_accept(s.listener)
    s = again(next, s)
    if s.owed == 0, do: start(count, s), else: %{s | owed: s.owed + count}
  end

  defp again(:more, s) do
    send(self(), {:"$mqtt", :readable})
    s
  end

  defp again(:exhausted, %{exhausted: false} = s) do
    _ = Process.send_after(self(), :accept, @exhausted)
    %{s | exhausted: true}
  end

  defp again(_wait, s), do: s

  defp start(0, s), do: %{s | owed: 0}

  defp start(count, s) do
    if start_one(s) do
      start(count - 1, s)
    else
      _ = Process.send_after(self(), :start, @exhausted)
      %{s | owed: count}
    end
  end

  # Not if the virtual machine has as many processes as it may. The client waits.
  defp start_one(s) do
    is_pid(Connection.spawn_link(s.listener, s.start))
  rescue
    SystemLimitError -> false
  end

  # As other supervisors answer.
  @impl true
  def handle_call(:which_children, _from, s) do
    {module, _} = s.start.handler
    children = for pid <- children(s), do: {:undefined, pid, :worker, [Connection, module]}
    {:reply, children, s}
  end

  def handle_call(:count_children, _from, s) do
    count = length(children(s))
    {:reply, [specs: count, active: count, supervisors: 0, workers: count], s}
  end

  defp children(s) do
    {:links, links} = Process.info(self(), :links)
    for pid <- links, is_pid(pid), pid != s.parent, do: pid
  end

  @impl true
  def terminate(_reason, s),
    do: s |> children() |> Ending.all(s.shutdown_timeout, &Process.exit(&1, :shutdown))
end
