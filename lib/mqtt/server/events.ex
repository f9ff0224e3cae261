defmodule MQTT.Server.Events do
  @moduledoc false
  # A batch of events through the callbacks, which gives commands.
  #
  # A callback that raises ends the batch with the state that the one before it left, so that
  # terminate/2 sees what the handler last held.

  # Commands are collected the last one first, with how many they are, the bytes of their messages,
  # and whether there are replies among them.
  @type commands :: {[command], non_neg_integer, non_neg_integer, boolean}
  @type command :: tuple | :pingresp

  @doc "No commands."
  @spec none() :: commands
  def none, do: {[], 0, 0, false}

  @doc "Runs the callbacks for the events. Commands come behind those that there are."
  @spec handle([tuple | :pingreq | :disconnect], module, term, commands) ::
          {:ok, term, commands} | {:stop, term, term, commands}
  def handle([{:publish, _, _, _} | _] = events, module, state, commands) do
    # Found once, where module.handle_publish would be looked up for each message.
    handle_publish = Function.capture(module, :handle_publish, 4)
    publishes(events, handle_publish, module, state, commands)
  end

  def handle([{:subscribe, id, filters} | events], module, state, commands) do
    case subscribe(filters, module, state, [], []) do
      # The acknowledgement goes out before what the callbacks publish.
      {:ok, state, codes, actions} ->
        act(actions, state, put({:suback, id, codes}, commands), events, module)

      {:stop, result, state, actions} ->
        stop_acting(actions, result, state, commands)
    end
  end

  def handle([{:unsubscribe, id, filters} | events], module, state, commands) do
    case unsubscribe(filters, module, state, []) do
      {:ok, state, actions} -> act(actions, state, put({:unsuback, id}, commands), events, module)
      {:stop, result, state, actions} -> stop_acting(actions, result, state, commands)
    end
  end

  def handle([:pingreq | events], module, state, commands) do
    handle(events, module, state, put(:pingresp, commands))
  end

  def handle([:disconnect | _], _module, state, commands), do: {:stop, :normal, state, commands}

  def handle([], _module, state, commands), do: {:ok, state, commands}

  defp publishes([{:publish, topic, message, opts} | events], callback, module, state, commands) do
    case publish(callback, topic, message, opts, state) do
      {:ok, state} ->
        publishes(events, callback, module, state, commands)

      {:ok, state, actions} ->
        case add(actions, commands) do
          {:ok, commands} -> publishes(events, callback, module, state, commands)
          {:error, reason, commands} -> {:stop, reason, state, commands}
        end

      other ->
        stop(other, state, commands)
    end
  end

  defp publishes(events, _callback, module, state, commands),
    do: handle(events, module, state, commands)

  defp act(actions, state, commands, events, module) do
    case add(actions, commands) do
      {:ok, commands} -> handle(events, module, state, commands)
      {:error, reason, commands} -> {:stop, reason, state, commands}
    end
  end

  # What the callbacks before had done is done, and then the connection ends.
  defp stop_acting(actions, result, state, commands) do
    case add(actions, commands) do
      {:ok, commands} -> stop(result, state, commands)
      {:error, reason, commands} -> {:stop, reason, state, commands}
    end
  end

  defp subscribe([{filter, qos} | filters], module, state, codes, actions) do
    case call(module, :handle_subscribe, [filter, qos, state]) do
      {:ok, granted, state} when granted in [0, 1, 2, :failed] ->
        subscribe(filters, module, state, [code(granted, qos) | codes], actions)

      {:ok, granted, state, more} when granted in [0, 1, 2, :failed] ->
        subscribe(filters, module, state, [code(granted, qos) | codes], [more | actions])

      other ->
        {:stop, other, state, flat(actions)}
    end
  end

  defp subscribe([], _module, state, codes, actions),
    do: {:ok, state, Enum.reverse(codes), flat(actions)}

  defp unsubscribe([filter | filters], module, state, actions) do
    case call(module, :handle_unsubscribe, [filter, state]) do
      {:ok, state} -> unsubscribe(filters, module, state, actions)
      {:ok, state, more} -> unsubscribe(filters, module, state, [more | actions])
      other -> {:stop, other, state, flat(actions)}
    end
  end

  defp unsubscribe([], _module, state, actions), do: {:ok, state, flat(actions)}

  defp flat(actions), do: actions |> Enum.reverse() |> Enum.flat_map(&List.wrap/1)

  defp code(:failed, _requested), do: 0x80
  defp code(granted, requested), do: min(granted, requested)

  @doc """
  Puts the actions of a callback, one or a list, behind the commands. One that is none is an error,
  behind those before it.
  """
  @spec add(term, commands) :: {:ok, commands} | {:error, {Exception.t(), list}, commands}
  def add([action | actions], commands) do
    with {:ok, commands} <- add_one(action, commands), do: add(actions, commands)
  end

  def add([], commands), do: {:ok, commands}
  def add(action, commands), do: add_one(action, commands)

  defp add_one({:publish, _topic, message} = publish, {list, count, bytes, replies?}),
    do: {:ok, {[publish | list], count + 1, bytes + size(message), replies?}}

  defp add_one({:publish, _topic, message, _opts} = publish, {list, count, bytes, replies?}),
    do: {:ok, {[publish | list], count + 1, bytes + size(message), replies?}}

  defp add_one({:reply, _from, _reply} = reply, {list, count, bytes, _replies?}),
    do: {:ok, {[reply | list], count + 1, bytes, true}}

  defp add_one(other, commands) do
    {:error, bad_action(other, "it is none of those that MQTT.Server has"), commands}
  end

  defp put(command, {list, count, bytes, replies?}),
    do: {[command | list], count + 1, bytes, replies?}

  # What is not iodata shows when it is written.
  defp size(message) when is_binary(message), do: byte_size(message)
  defp size(_message), do: 0

  @doc "The reason with which a process stops because of an action that cannot be carried out."
  @spec bad_action(term, String.t()) :: {Exception.t(), list}
  def bad_action(action, why) do
    # Cut short: the message may be megabytes.
    shown = inspect(action, limit: 20, printable_limit: 200)
    {ArgumentError.exception("the action #{shown} cannot be carried out: #{why}"), []}
  end

  defp publish(callback, topic, message, opts, state) do
    callback.(topic, message, opts, state)
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
