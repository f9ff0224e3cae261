defmodule MQTT.Server.Connection.Mailbox do
  @moduledoc false
  # The handler's messages, calls and casts, as many as are there, in one go. What it answers is corked, and written together: behind
  # `@most` of them, or when no more have come, or sooner if there is much or a reply. A few may be
  # left to a writer, while there are many such (`native/mqtt_nif/src/writers.rs`).
  #
  # So of several messages `gen_server` sees the first, as do `:sys.trace/2` and `:sys.statistics/2`. System messages stay where they
  # are until it looks again, and what is ours, or may be its own, ends the turn.

  import MQTT.Server.Connection.Actions

  alias MQTT.Native
  alias MQTT.Server.{Events, Writer}
  alias MQTT.Server.Connection.Actions

  # Then it is the turn of gen_server's own.
  @most 64

  # So many commands may be left to a writer.
  @few 4

  @not_the_handlers [:"$mqtt", :ssl, :ssl_closed, :ssl_error, :EXIT]

  @type message :: {:"$gen_call", GenServer.from(), term} | {:"$gen_cast", term} | term

  @doc "Handles a message of the handler's, and what has come behind it."
  @spec handle(message, Actions.s()) ::
          Actions.step() | {:noreply, Actions.s(), {:continue, term}}
  def handle(message, s), do: handle(message, s.state, s.corked, 0, 1, s)

  # The state and what is corked are put into `s` at the end. `count` messages have been handled then. So many commands were
  # corked when the others had their turn last.
  defp handle(message, state, corked, before, count, s) do
    try do
      call(message, s, state)
    catch
      :throw, value ->
        handled(value, state, corked, before, count, s)

      # gen_server says of which message it was and has the state.
      kind, value when count == 1 ->
        :erlang.raise(kind, value, __STACKTRACE__)

      kind, value ->
        {:noreply, leave(state, corked, s),
         {:continue, {:raise, message, kind, value, __STACKTRACE__}}}
    else
      result -> handled(result, state, corked, before, count, s)
    end
  end

  @doc "Calls the handler with a message of its."
  @spec call(message, Actions.s(), state :: term) :: term
  def call({:"$gen_cast", request}, s, state), do: s.module.handle_cast(request, state)

  def call({:"$gen_call", from, {:"$mqtt", :info}}, s, state),
    do: {:ok, state, {:reply, from, info(s)}}

  def call({:"$gen_call", from, request}, s, state),
    do: s.module.handle_call(request, from, state)

  def call(message, s, state), do: s.handler.handle_info.(message, state)

  @doc "See `MQTT.Server.info/1`."
  @spec info(Actions.s()) :: MQTT.Server.info()
  def info(s) do
    {queued_bytes, dropped_messages} = Native.connection_queue(s.connection)
    %{queued_bytes: queued_bytes, dropped_messages: dropped_messages}
  end

  defp handled({:ok, state}, _state, corked, before, count, s),
    do: next(state, corked, before, count, s)

  defp handled({:ok, state, actions}, _state, corked, before, count, s) do
    case Events.add(actions, corked) do
      {:ok, corked} ->
        if full?(corked),
          do: state |> leave(corked, s) |> flush(),
          else: next(state, corked, before, count, s)

      {:error, reason, corked} ->
        {:stop, reason, leave(state, corked, s)}
    end
  end

  defp handled({:stop, reason}, state, corked, _before, _count, s),
    do: {:stop, reason, leave(state, corked, s)}

  defp handled(other, state, corked, _before, _count, s),
    do: {:stop, {:bad_return_value, other}, leave(state, corked, s)}

  defp next(state, corked, _before, @most, s), do: state |> leave(corked, s) |> flush()

  defp next(state, corked, before, count, s) do
    receive do
      message when not is_tuple(message) or tuple_size(message) == 0 ->
        handle(message, state, corked, before, count + 1, s)

      message when elem(message, 0) in @not_the_handlers ->
        {:noreply, leave(state, corked, s), {:continue, {:message, message}}}

      message when elem(message, 0) != :system or tuple_size(message) != 3 ->
        handle(message, state, corked, before, count + 1, s)
    after
      0 -> none(state, corked, before, count, s)
    end
  end

  # Where there was more than one, those who have more for this process may be waiting for the scheduler: they get their turn, until
  # nothing has come of it.
  defp none(state, {_, commands, _, _, _} = corked, before, count, s) do
    cond do
      commands > before and commands > 1 ->
        Writer.release()
        :erlang.yield()
        next(state, corked, commands, count, s)

      commands <= @few ->
        state |> leave(corked, s) |> flush_few()

      true ->
        state |> leave(corked, s) |> flush()
    end
  end

  defp leave(state, corked, s) do
    Writer.release()
    %{s | state: state, corked: corked}
  end
end
