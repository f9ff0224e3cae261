defmodule MQTT.Server.Poller do
  @moduledoc false
  # Has the emulator tell the processes of connections that there is something to read. While a single client waits
  # for each answer, it looks itself, behind the processes that wait for the same scheduler.

  use GenServer

  alias MQTT.Native

  @doc "Starts it, unless a connection has done so before."
  @spec start_link(term) :: GenServer.on_start()
  def start_link(_) do
    with {:error, {:already_started, pid}} <-
           GenServer.start_link(__MODULE__, nil, name: __MODULE__) do
      Process.link(pid)
      {:ok, pid}
    end
  end

  @doc "Has one where the application does not run."
  @spec ensure_started :: :ok
  def ensure_started do
    # Another connection may be quicker.
    _ = Process.whereis(__MODULE__) || GenServer.start(__MODULE__, :alone, name: __MODULE__)
    :ok
  end

  @impl true
  def init(:alone) do
    # So that it does not end with the application whose connection was the first.
    Process.group_leader(self(), Process.whereis(:init))
    init(nil)
  end

  def init(nil) do
    with :ok <- load(), {:ok, port} <- open() do
      _ = Port.monitor(port)
      {:ok, port}
    else
      # Whoever needs it tries again.
      {:error, reason} -> {:stop, {:shutdown, reason}}
    end
  end

  # The library is a driver as well, whose port the emulator polls (native/mqtt_nif/src/driver.rs).
  defp load do
    {:module, _} = Code.ensure_loaded(Native)

    case :erl_ddll.load(:filename.join(:code.priv_dir(:mqtt), ~c"native"), ~c"mqtt_nif") do
      # It stays once it has had a port.
      loaded when loaded in [:ok, {:error, :permanent}] -> :ok
      {:error, reason} -> {:error, {:no_driver, List.to_string(:erl_ddll.format_error(reason))}}
    end
  end

  defp open do
    {:ok, Port.open({:spawn_driver, ~c"mqtt_nif"}, [])}
  rescue
    error in ErlangError -> {:error, {:no_port, error.original}}
  end

  # Nobody has anything to ask it. Whatever comes while it looks, it goes on.
  @impl true
  def handle_call(_call, _from, port), do: {:reply, {:error, :not_supported}, port, 0}

  @impl true
  def handle_cast(_cast, port), do: {:noreply, port, 0}

  @impl true
  def handle_info({:DOWN, _, :port, _, _}, port), do: {:stop, {:shutdown, :port_closed}, port}

  def handle_info(_timeout_or_readable, port) do
    case Native.poller_poll() do
      :wait ->
        {:noreply, port}

      :more ->
        :erlang.yield()
        {:noreply, port, 0}
    end
  end
end
