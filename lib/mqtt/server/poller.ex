defmodule MQTT.Server.Poller do
  @moduledoc false
  # Tells the processes of connections that there is something to read. While there is, it goes on looking, behind
  # the processes that wait for the same scheduler.

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
    {:ok, nil, 0}
  end

  def init(nil), do: {:ok, nil, 0}

  # Nobody has anything to ask it.
  @impl true
  def handle_call(_call, _from, state), do: {:reply, {:error, :not_supported}, state, 0}

  @impl true
  def handle_cast(_cast, state), do: {:noreply, state, 0}

  @impl true
  # The first one follows its start.
  def handle_info(_timeout_or_readable, state) do
    case Native.poller_poll() do
      :wait ->
        {:noreply, state}

      :more ->
        :erlang.yield()
        {:noreply, state, 0}

      :error ->
        {:stop, :no_poll_set, state}
    end
  end
end
