defmodule MQTT.Server.Events do
  @moduledoc false
  # A batch of events through the callbacks, which gives commands.
  #
  # A callback that raises ends the batch with the state that the one before it left, so that
  # terminate/2 sees what the handler last held.

  @type command :: tuple | :pingresp

  @doc """
  Runs the callbacks for the events. Commands come back behind those of `commands`, the last one
  first.
  """
  @spec handle([tuple | :pingreq | :disconnect], module, term, [command]) ::
          {:ok, term, [command]} | {:stop, term, term, [command]}
  def handle([{:publish, topic, message, opts} | events], module, state, commands) do
    case publish(module, topic, message, opts, state) do
      {:ok, state} -> handle(events, module, state, commands)
      {:ok, state, actions} -> handle(events, module, state, actions(actions, commands))
      other -> stop(other, state, commands)
    end
  end

  def handle([{:subscribe, packet_id, filters} | events], module, state, commands) do
    subscribe(filters, module, state, [], [], packet_id, commands, events)
  end

  def handle([{:unsubscribe, packet_id, filters} | events], module, state, commands) do
    unsubscribe(filters, module, state, [], packet_id, commands, events)
  end

  def handle([:pingreq | events], module, state, commands) do
    handle(events, module, state, [:pingresp | commands])
  end

  def handle([:disconnect | _], _module, state, commands), do: {:stop, :normal, state, commands}

  def handle([], _module, state, commands), do: {:ok, state, commands}

  # The acknowledgement goes out before what the callbacks publish.
  defp subscribe([{filter, qos} | filters], module, state, codes, actions, id, commands, events) do
    case call(module, :handle_subscribe, [filter, qos, state]) do
      {:ok, granted, state} when granted in [0, 1, 2, :failed] ->
        codes = [code(granted) | codes]
        subscribe(filters, module, state, codes, actions, id, commands, events)

      {:ok, granted, state, more} when granted in [0, 1, 2, :failed] ->
        codes = [code(granted) | codes]
        actions = actions(more, actions)
        subscribe(filters, module, state, codes, actions, id, commands, events)

      other ->
        stop(other, state, actions ++ commands)
    end
  end

  defp subscribe([], module, state, codes, actions, id, commands, events) do
    suback = {:suback, id, Enum.reverse(codes)}
    handle(events, module, state, actions ++ [suback | commands])
  end

  defp unsubscribe([filter | filters], module, state, actions, id, commands, events) do
    case call(module, :handle_unsubscribe, [filter, state]) do
      {:ok, state} ->
        unsubscribe(filters, module, state, actions, id, commands, events)

      {:ok, state, more} ->
        actions = actions(more, actions)
        unsubscribe(filters, module, state, actions, id, commands, events)

      other ->
        stop(other, state, actions ++ commands)
    end
  end

  defp unsubscribe([], module, state, actions, id, commands, events) do
    handle(events, module, state, actions ++ [{:unsuback, id} | commands])
  end

  defp code(:failed), do: 0x80
  defp code(qos), do: qos

  @doc """
  Actions of a callback as commands, put before `commands`, the last one first. A reply is given
  here and now.
  """
  @spec actions(term, [command]) :: [command]
  def actions([action | actions], commands), do: actions(actions, action(action, commands))
  def actions([], commands), do: commands
  def actions(action, commands), do: action(action, commands)

  defp action({:publish, _topic, _message} = publish, commands), do: [publish | commands]
  defp action({:publish, _topic, _message, _opts} = publish, commands), do: [publish | commands]

  defp action({:reply, from, reply}, commands) do
    :gen_server.reply(from, reply)
    commands
  end

  defp action(other, _commands) do
    raise ArgumentError, "#{inspect(other)} is not an action of MQTT.Server"
  end

  defp publish(module, topic, message, opts, state) do
    module.handle_publish(topic, message, opts, state)
  catch
    kind, value -> caught(kind, value, __STACKTRACE__)
  end

  defp call(module, function, arguments) do
    apply(module, function, arguments)
  catch
    kind, value -> caught(kind, value, __STACKTRACE__)
  end

  # As in a gen_server: what is thrown is the return value.
  defp caught(:throw, value, _stacktrace), do: value
  defp caught(:exit, reason, _stacktrace), do: {:stop, reason}
  defp caught(:error, error, stacktrace), do: {:stop, {error, stacktrace}}

  defp stop({:stop, reason}, state, commands), do: {:stop, reason, state, commands}
  defp stop(other, state, commands), do: {:stop, {:bad_return_value, other}, state, commands}
end
