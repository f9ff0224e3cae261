defmodule MQTT.Server.Writer do
  @moduledoc false
  # Writes what is corked, by `MQTT.Server.publish/4` and by connections that have single messages, of the
  # connections that are this writer's. There is one for each scheduler. While it waits for its turn, more comes for the same connections, which
  # then costs no further system call. Where the application does not run, there is none, and each
  # message is written at once.

  use GenServer

  alias MQTT.Native

  @type held :: {timer :: reference, deadline :: integer}

  @spec start_link({non_neg_integer, pos_integer}) :: GenServer.on_start()
  def start_link({number, _} = arguments) do
    # One of them is told for all.
    options = if number == 0, do: [name: __MODULE__], else: []
    GenServer.start_link(__MODULE__, arguments, options)
  end

  @doc "Has what is on hold written in so many milliseconds, unless `tell/1` is called before."
  @spec hold(pos_integer) :: held
  def hold(milliseconds) do
    timer = Process.send_after(__MODULE__, {:"$mqtt", :tell}, milliseconds)
    {timer, System.monotonic_time(:millisecond) + milliseconds}
  end

  @doc "Whether that time is not over."
  @spec held?(held) :: boolean
  def held?({_timer, deadline}), do: System.monotonic_time(:millisecond) < deadline

  @doc "Has what is on hold written now."
  @spec tell(held) :: :ok
  def tell({timer, _deadline}) do
    _ = Process.cancel_timer(timer, async: true, info: false)
    Native.writers_tell()
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
