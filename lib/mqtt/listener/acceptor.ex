defmodule MQTT.Listener.Acceptor do
  @moduledoc false
  # Owns the native listener, and starts a process for each client that has sent its CONNECT.

  use GenServer

  alias MQTT.{Listener, Native}

  @enforce_keys [:listener, :supervisor, :options]
  defstruct @enforce_keys ++ [connections: nil, suspended: false]

  def start_link({supervisor, options}) do
    GenServer.start_link(__MODULE__, {supervisor, options})
  end

  def info(acceptor), do: GenServer.call(acceptor, :info)
  def suspend(acceptor), do: GenServer.call(acceptor, :suspend)
  def resume(acceptor), do: GenServer.call(acceptor, :resume)

  @impl true
  def init({supervisor, options}) do
    Process.flag(:trap_exit, true)

    case Native.listener_open(options.native, options.server.native) do
      {:ok, listener} ->
        s = %__MODULE__{listener: listener, supervisor: supervisor, options: options}
        # The supervisor answers once it has started its children.
        {:ok, s, {:continue, :connections}}

      {:error, reason} ->
        {:stop, {:listen, reason}}
    end
  end

  @impl true
  def handle_continue(:connections, s) do
    {:noreply, %{s | connections: Listener.connections(s.supervisor)}}
  end

  @impl true
  def handle_info({:"$mqtt", :accepted}, s) do
    start(Native.listener_announced(s.listener), s)
    {:noreply, s}
  end

  def handle_info({:EXIT, _pid, reason}, s), do: {:stop, reason, s}
  def handle_info(_message, s), do: {:noreply, s}

  @impl true
  def handle_call(:info, _from, s) do
    {{address, port}, counters} = Native.listener_info(s.listener)
    info = Map.merge(counters, %{address: address, port: port, suspended: s.suspended})
    {:reply, info, s}
  end

  def handle_call(:suspend, _from, s) do
    {:reply, Native.listener_suspend(s.listener), %{s | suspended: true}}
  end

  def handle_call(:resume, _from, s) do
    case Native.listener_resume(s.listener) do
      :ok -> {:reply, :ok, %{s | suspended: false}}
      {:error, _} = error -> {:reply, error, s}
    end
  end

  @impl true
  def terminate(_reason, s), do: Native.listener_close(s.listener)

  defp start(0, _s), do: :ok

  defp start(count, s) do
    {:ok, _pid} = Listener.start_connection(s.connections, s.listener, s.options)
    start(count - 1, s)
  end
end
