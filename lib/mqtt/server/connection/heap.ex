defmodule MQTT.Server.Connection.Heap do
  @moduledoc false
  # How many words the heap of a connection's process has at least: what is usual, but more until the client is connected, and
  # for a while when it floods. `heap` of the connection `s` is then `{given, before}`, of which the latter is given back.

  alias MQTT.Server.Connection.Actions

  # Enough for most clients until they are connected, so that nothing is collected.
  @connecting 987

  # Enough for the small messages of a read, and for what callbacks make of them.
  @flooded 28_690

  # For so many milliseconds; then it is seen whether the client still does.
  @flood 1_000

  @type t :: {given :: pos_integer, before :: non_neg_integer} | nil

  @doc "What a process is spawned with that is to be a connection, and what is then given back."
  @spec connecting :: {pos_integer, t}
  def connecting do
    {:min_heap_size, usual} = :erlang.system_info(:min_heap_size)
    {@connecting, {@connecting, usual}}
  end

  @doc "What the calling process is given that is to be a connection."
  @spec connect :: t
  def connect, do: give(@connecting)

  @doc """
  The callbacks for many events have run. What these took is given back now, when next to nothing of it is in use, instead of
  while the next ones are made or handled, when nearly all of it is.
  """
  @spec collect(Actions.s()) :: Actions.s()
  def collect(%{heap: {@flooded, _}} = s), do: collected(s)

  def collect(s) do
    s = s |> give_back() |> collected()
    heap = if fits?(@flooded), do: give(@flooded)
    _ = heap && Process.send_after(self(), {:"$mqtt", :flooded}, @flood)
    %{s | heap: heap}
  end

  # Who sets a limit is not to be killed for what we take, of which there is twice as much while it is collected.
  defp fits?(words) do
    {:garbage_collection, options} = Process.info(self(), :garbage_collection)
    maximum = options[:max_heap_size].size
    maximum == 0 or 4 * words <= maximum
  end

  @doc "The client is connected."
  @spec connected(Actions.s()) :: Actions.s()
  def connected(%{heap: {@connecting, _}} = s), do: give_back(s)
  def connected(s), do: s

  @doc "The client has flooded. If it still does, the next events say so."
  @spec flooded(Actions.s()) :: Actions.s()
  def flooded(s), do: s |> give_back() |> collected()

  defp collected(s) do
    :erlang.garbage_collect(self(), type: :minor)
    s
  end

  defp give_back(%{heap: nil} = s), do: s

  defp give_back(%{heap: {given, before}} = s) do
    # Unless the handler has said since what it wants.
    with wanted when wanted != given <- Process.flag(:min_heap_size, before),
         do: Process.flag(:min_heap_size, wanted)

    %{s | heap: nil}
  end

  defp give(words) do
    case Process.flag(:min_heap_size, words) do
      before when before < words ->
        {words, before}

      more ->
        _ = Process.flag(:min_heap_size, more)
        nil
    end
  end
end
