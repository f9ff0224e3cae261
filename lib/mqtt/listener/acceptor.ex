defmodule MQTT.Listener.Acceptor do
  @moduledoc false
  # Serves the native listener: starts a process for each client that has sent its CONNECT.

  use GenServer

  alias MQTT.Native
  alias MQTT.Server.Connection

  @enforce_keys [:supervisor, :listener, :options]
  defstruct @enforce_keys ++ [connections: nil]

  def start_link({supervisor, listener, options}) do
    GenServer.start_link(__MODULE__, {supervisor, listener, options})
  end

  def info(acceptor), do: GenServer.call(acceptor, :info)
  def suspend(acceptor), do: GenServer.call(acceptor, :suspend)
  def resume(acceptor), do: GenServer.call(acceptor, :resume)

  @impl true
  def init({supervisor, listener, options}) do
    # So that the listener is closed before the connections end.
    Process.flag(:trap_exit, true)

    case Native.listener_serve(listener) do
      :ok ->
        # The supervisor answers once it has started its children, and clients wait that long.
        s = %__MODULE__{supervisor: supervisor, listener: listener, options: options}
        {:ok, s, {:continue, :connections}}

      {:error, reason} ->
        {:stop, {:listen, reason}}
    end
  end

  @impl true
  def handle_continue(:connections, s) do
    {_, connections, _, _} =
      s.supervisor |> Supervisor.which_children() |> List.keyfind(DynamicSupervisor, 0)

    start_connections(%{s | connections: connections})
  end

  @impl true
  def handle_info({:"$mqtt", :accepted}, s), do: start_connections(s)
  def handle_info(_message, s), do: {:noreply, s}

  @impl true
  def handle_call(:info, _from, s), do: {:reply, Native.listener_info(s.listener), s}
  def handle_call(:suspend, _from, s), do: {:reply, Native.listener_suspend(s.listener), s}
  def handle_call(:resume, _from, s), do: {:reply, Native.listener_resume(s.listener), s}

  @impl true
  def terminate(_reason, s), do: Native.listener_close(s.listener)

  defp start_connections(s) do
    start(Native.listener_announced(s.listener), s)
    {:noreply, s}
  end

  defp start(0, _s), do: :ok

  defp start(count, s) do
    {module, _args} = s.options.handler

    {:ok, _pid} =
      DynamicSupervisor.start_child(s.connections, %{
        id: Connection,
        start: {Connection, :start_link, [s.listener, s.options.handler, s.options.server]},
        restart: :temporary,
        shutdown: s.options.shutdown_timeout,
        modules: [Connection, module]
      })

    start(count - 1, s)
  end
end
