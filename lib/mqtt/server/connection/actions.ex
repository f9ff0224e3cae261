defmodule MQTT.Server.Connection.Actions do
  @moduledoc false
  # What callbacks answer is carried out by the connection `s`, a `MQTT.Server.Connection`. Each step gives what a callback of
  # gen_server gives: `{:noreply, s}` or `{:stop, reason, s}`.
  #
  # What the handler publishes is corked: it is written when what has come is handled (see `Mailbox` for messages of other
  # processes), or when `@max_corked` commands or `@max_corked_bytes` of messages wait, or when a reply is among them.

  alias MQTT.{Native, Options, Reason}
  alias MQTT.Server.{Deliveries, Events, Writer}

  @max_corked 64
  @max_corked_bytes 65_536

  @type s :: struct
  @type step :: {:noreply, s} | {:stop, reason :: term, s}

  @doc "What a callback returned."
  @spec returned(term, s) :: step
  def returned(result, s) do
    Writer.release()

    case result do
      {:ok, state} -> {:noreply, %{s | state: state}}
      {:ok, state, actions} -> act(actions, state, s)
      {:stop, reason} -> {:stop, reason, s}
      other -> {:stop, {:bad_return_value, other}, s}
    end
  end

  @doc """
  Actions, beside the state that the callback left. They are written when what is in the mailbox now has been handled, or at once if
  they are many.
  """
  @spec act(term, term, s) :: step
  def act([], state, s), do: {:noreply, %{s | state: state}}

  def act(actions, state, s) do
    case Events.add(actions, s.corked) do
      {:ok, corked} ->
        if full?(corked) do
          flush(%{s | state: state, corked: corked})
        else
          if s.corked == Events.none(), do: send(self(), {:"$mqtt", :corked})
          {:noreply, %{s | state: state, corked: corked}}
        end

      {:error, reason, corked} ->
        {:stop, reason, %{s | state: state, corked: corked}}
    end
  end

  @doc "Whether commands are written before there are more of them."
  @spec full?(Events.commands()) :: boolean
  def full?({_commands, count, bytes, ours?, _refs}),
    do: ours? or count >= @max_corked or bytes >= @max_corked_bytes

  @doc "Writes what is corked."
  @spec flush(s) :: step
  def flush(%{corked: {[], _, _, _, _}} = s), do: write_ssl(s)

  def flush(s), do: send_off(s, false)

  @doc "The same, where it is few and may be left to a writer, as nothing else has come."
  @spec flush_few(s) :: step
  def flush_few(%{corked: {[], _, _, _, _}} = s), do: write_ssl(s)
  def flush_few(s), do: send_off(s, true)

  defp send_off(%{corked: {commands, _, _, ours?, refs}} = s, few) do
    s = %{s | corked: Events.none(), refs: Deliveries.remember(s.refs, refs)}
    commands = Enum.reverse(commands)

    # What they have put into the session waits for handle_delivery/4, but not within this callback.
    if s.asks, do: send(self(), {:"$mqtt", :session})

    if ours?,
      do: commands |> write_in_turn(s, []) |> tell(),
      else: write(commands, s, false, few)
  end

  @doc "Carries commands out natively, with which also goes what waits in the session."
  @spec write([term], s, again :: boolean, few :: boolean) :: step
  def write(commands, s, again \\ false, few \\ false),
    do: commands |> write(s, again, few, []) |> tell()

  # With what has become of messages, the last first, which is told when all is carried out: what is published then comes behind.
  defp write(commands, s, again, few, told),
    do: Native.connection_send(s.connection, commands, again, few) |> written(s, told)

  # What was published before a reply is written before it.
  defp write_in_turn(commands, s, told) do
    case Enum.split_while(commands, &(not ours?(&1))) do
      {[], [ours | rest]} -> {carry_out(ours, s), told} |> in_turn(rest)
      {[], []} -> {{:noreply, s}, told}
      {commands, rest} -> commands |> write(s, false, false, told) |> in_turn(rest)
    end
  end

  defp in_turn({{:noreply, s}, told}, rest), do: write_in_turn(rest, s, told)
  defp in_turn(stop, _rest), do: stop

  defp tell({step, []}), do: step
  defp tell({{:noreply, s}, told}), do: told |> in_order() |> delivered(s)

  defp tell({{:stop, reason, s}, told}),
    do: {:stop, reason, told |> in_order() |> delivered(s) |> state_of()}

  defp in_order(told), do: told |> Enum.reverse() |> Enum.concat()

  defp ours?(command), do: elem_0(command) in [:reply, :auth, :disconnect]

  defp elem_0(command) when is_tuple(command), do: elem(command, 0)
  defp elem_0(command), do: command

  defp carry_out({:reply, from, reply}, s) do
    :gen_server.reply(from, reply)
    {:noreply, s}
  end

  defp carry_out({:auth, code, properties}, s) do
    Native.connection_authenticate(s.connection, code, properties)
    |> said({:auth, properties}, s)
  end

  defp carry_out({:disconnect, code, properties}, s) do
    name = if code == 0x00, do: :normal_disconnection, else: Reason.name(code)
    reason = {:shutdown, {:disconnect, name}}
    code |> disconnect(properties, s) |> and_then(&{:stop, reason, &1})
  end

  @doc "Writes DISCONNECT, if the client's version has it."
  @spec disconnect(byte, map, s) :: step
  def disconnect(code, properties, s) do
    Native.connection_disconnect(s.connection, code, properties)
    |> said({:disconnect, Reason.name(code), properties}, s)
  end

  defp written(:ok, s, told), do: {write_ssl(s), told}

  # So many that one call did not do.
  defp written({:more, commands}, s, told) do
    case write_ssl(s) do
      {:noreply, s} -> write(commands, s, true, false, told)
      stop -> {stop, told}
    end
  end

  defp written({:close, reason}, s, told), do: {{:stop, {:shutdown, reason}, s}, told}

  defp written({:delivered, deliveries, outcome}, s, told),
    do: written(outcome, s, [deliveries | told])

  defp written({:error, {:bad_action, action, reason}}, s, told),
    do: {{:stop, Events.bad_action(action, why(action, reason)), s}, told}

  defp why({:publish, _topic, _message, options}, reason), do: Options.words(reason, options)
  defp why(_action, reason), do: Reason.words(reason)

  @doc "Writes what the native side has for a socket that is ours."
  @spec write_ssl(s) :: step
  def write_ssl(%{io: {:ssl, socket}} = s) do
    case Native.connection_take_output(s.connection) do
      "" -> {:noreply, s}
      output -> socket |> :ssl.send(output) |> sent(s)
    end
  end

  def write_ssl(s), do: {:noreply, s}

  defp sent(:ok, s), do: {:noreply, s}
  defp sent({:error, :timeout}, s), do: {:stop, {:shutdown, :send_timeout}, s}
  # What the peer sent before it went may still come, and its end behind it.
  defp sent({:error, _reason}, s), do: {:noreply, s}

  @doc "What has become of messages, in the order in which it was found out."
  @spec delivered([{pos_integer, term}], s) :: step
  def delivered(deliveries, s) do
    each(deliveries, s, fn {number, result}, s ->
      # If it was an earlier connection's, that has been told that it lost it.
      {refs, others} = Map.pop(s.refs, number, [])
      refs |> Enum.reverse() |> each(%{s | refs: others}, &tell_delivered(&1, result, &2))
    end)
  end

  @doc "What has become of the message that the handler calls `ref`."
  @spec tell_delivered(term, term, s, (module, atom, list -> term)) :: step
  def tell_delivered(ref, result, s, call \\ &Events.call/3) do
    result =
      case result do
        {:error, {:refused, code}} -> {:error, {:refused, Reason.name(code)}}
        other -> other
      end

    if :handle_delivered in s.handler.optional,
      do: s.module |> call.(:handle_delivered, [ref, result, s.state]) |> returned(s),
      else: {:noreply, s}
  end

  @doc "What came of a packet of its own. What was wrong with it was in what a callback returned."
  @spec said(:ok | {:close, term} | {:error, {:bad_action, atom}}, what :: term, s) :: step
  def said(:ok, _what, s), do: write_ssl(s)
  def said({:close, reason}, _what, s), do: {:stop, {:shutdown, reason}, s}

  def said({:error, {:bad_action, reason}}, what, s),
    do: {:stop, Events.bad_action(what, Reason.words(reason)), s}

  @doc "What a step left behind, where an error is of no more use."
  @spec state_of(step) :: s
  def state_of({:noreply, s}), do: s
  def state_of({:stop, _reason, s}), do: s

  @doc "The next step, unless one has stopped."
  @spec and_then(step, (s -> result)) :: step | result when result: term
  def and_then({:noreply, s}, continue), do: continue.(s)
  def and_then(stop, _continue), do: stop

  @doc "A step for each item, until one of them stops."
  @spec each([item], s, (item, s -> step)) :: step when item: term
  def each([], s, _step), do: {:noreply, s}
  def each([item | items], s, step), do: item |> step.(s) |> and_then(&each(items, &1, step))
end
