defmodule MQTT.Listener.Socket do
  @moduledoc false
  # Opens the listening socket and closes it. `Connections` accepts.

  use GenServer

  alias MQTT.Native

  def start_link(listener), do: GenServer.start_link(__MODULE__, listener)

  def info(socket), do: GenServer.call(socket, :info)
  def suspend(socket), do: GenServer.call(socket, :suspend)
  def resume(socket), do: GenServer.call(socket, :resume)

  @impl true
  def init(listener) do
    # So that the listener is closed before the connections end.
    Process.flag(:trap_exit, true)

    case Native.listener_serve(listener) do
      :ok -> {:ok, listener}
      {:error, reason} -> {:stop, {:listen, reason}}
    end
  end

  @impl true
  def handle_call(:info, _from, listener), do: {:reply, Native.listener_info(listener), listener}

  def handle_call(:suspend, _from, listener),
    do: {:reply, Native.listener_suspend(listener), listener}

  def handle_call(:resume, _from, listener),
    do: {:reply, Native.listener_resume(listener), listener}

  @impl true
  def terminate(_reason, listener), do: Native.listener_close(listener)
end
