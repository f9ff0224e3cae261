defmodule MQTT.Listener.Acceptor do
  @moduledoc false
  # Has the native listener accept clients, whose processes `Connections` starts.

  use GenServer

  alias MQTT.Native

  def start_link(listener), do: GenServer.start_link(__MODULE__, listener)

  def info(acceptor), do: GenServer.call(acceptor, :info)
  def suspend(acceptor), do: GenServer.call(acceptor, :suspend)
  def resume(acceptor), do: GenServer.call(acceptor, :resume)

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
