defmodule MQTT.Server.Writer do
  @moduledoc false
  # Writes what is corked, by `MQTT.Server.publish/4` and by connections that have single messages, of the
  # connections that are this writer's. There is one for each scheduler. While it waits for its turn, more comes for the same connections, which
  # then costs no further system call. Where the application does not run, there is none, and each
  # message is written at once.

  use GenServer

  alias MQTT.Native

  # For how long at most what is published to other connections is on hold, in milliseconds.
  @hold 1

  @spec start_link({non_neg_integer, pos_integer}) :: GenServer.on_start()
  def start_link({number, _} = arguments) do
    # One of them is told for all.
    options = if number == 0, do: [name: __MODULE__], else: []
    GenServer.start_link(__MODULE__, arguments, options)
  end

  @doc """
  Whether what the calling process, a connection's, publishes to others is on hold, as it is until it calls `release/0`, when all
  that has come is handled, or for a moment, in case that takes long.
  """
  @spec hold?() :: boolean
  def hold? do
    now = System.monotonic_time(:millisecond)

    case Process.get(:"$mqtt_hold") do
      nil ->
        timer = Process.send_after(__MODULE__, {:"$mqtt", :tell}, @hold)
        _ = Process.put(:"$mqtt_hold", {timer, now + @hold})
        true

      {_timer, deadline} ->
        now < deadline
    end
  end

  @doc "Has what is on hold written now."
  @spec release :: :ok
  def release do
    case Process.delete(:"$mqtt_hold") do
      nil ->
        :ok

      {timer, _deadline} ->
        _ = Process.cancel_timer(timer, async: true, info: false)
        Native.writers_tell()
    end
  end

  @impl true
  def init({number, count}) do
    # So that nothing is left behind by the last one.
    Process.flag(:trap_exit, true)
    :ok = Native.writer_register(number, count)
    {:ok, number}
  end

  @impl true
  # Each call takes a good part of a time slice, and other messages have their turn between two of them.
  def handle_info({:"$mqtt", :write} = message, number) do
    case Native.writer_write(number) do
      :ok -> :ok
      0 -> send(self(), message)
      milliseconds -> Process.send_after(self(), message, milliseconds)
    end

    {:noreply, number}
  end

  def handle_info({:"$mqtt", :tell}, number) do
    Native.writers_tell()
    {:noreply, number}
  end

  @impl true
  def terminate(_reason, number), do: Native.writer_leave(number)
end
