defmodule MQTT.Server.Events do
  @moduledoc false
  # A batch of events through the callbacks, which gives commands.
  #
  # A callback that raises ends the batch with the state that the one before it left, so that
  # terminate/2 sees what the handler last held.

  alias MQTT.Reason
  alias MQTT.Server.Events.Handler

  # Commands are collected the last one first, with how many they are, the bytes of their messages,
  # whether there are some among them that are not the native side's, and what its messages'
  # references stand for.
  @type commands ::
          {[command], non_neg_integer, non_neg_integer, boolean, [{pos_integer, term}]}
  @type command :: tuple | :pingresp

  @doc "No commands."
  @spec none() :: commands
  def none, do: {[], 0, 0, false, []}

  @doc """
  Runs the callbacks for the events. Commands come behind those that there are. A DISCONNECT of the
  client ends the batch.
  """
  @spec handle([tuple | :pingreq], Handler.t(), term, commands) ::
          {:ok, term, commands}
          | {:stop, term, term, commands}
          | {:disconnect, 0..255, map, term, commands}
  def handle([event | _] = events, handler, state, commands)
      when elem(event, 0) == :publish do
    publishes(events, handler.handle_publish, handler, state, 0, commands)
  end

  def handle([{:subscribe, id, filters} | events], handler, state, commands) do
    case subscribe(filters, handler, state, [], %{}, []) do
      # The acknowledgement goes out before what the callbacks publish.
      {:ok, state, codes, properties, actions} ->
        act(actions, state, put({:suback, id, codes, properties}, commands), events, handler)

      {:stop, result, state, actions} ->
        stop_acting(actions, result, state, commands)
    end
  end

  def handle([{:unsubscribe, id, filters, options} | events], handler, state, commands) do
    case unsubscribe(filters, options, handler, state, [], %{}, []) do
      {:ok, state, codes, properties, actions} ->
        act(actions, state, put({:unsuback, id, codes, properties}, commands), events, handler)

      {:stop, result, state, actions} ->
        stop_acting(actions, result, state, commands)
    end
  end

  def handle([:pingreq | events], handler, state, commands) do
    handle(events, handler, state, put(:pingresp, commands))
  end

  def handle([{:auth, code, properties} | events], handler, state, commands) do
    authenticate = fn -> handler.module.handle_auth(Reason.name(code), properties, state) end

    case call(__MODULE__, :confidential, [authenticate]) do
      {:ok, state} ->
        handle(events, handler, state, put_auth(0x00, %{}, commands))

      {:ok, state, actions} ->
        {said, actions} = actions |> List.wrap() |> Enum.split_with(&match?({:auth, _}, &1))

        properties =
          for {:auth, properties} <- said, reduce: %{}, do: (all -> Map.merge(all, properties))

        act(actions, state, put_auth(0x00, properties, commands), events, handler)

      {:continue, properties, state} ->
        handle(events, handler, state, put_auth(0x18, properties, commands))

      {:error, reason, state} ->
        act([{:disconnect, reason}], state, commands, events, handler)

      other ->
        stop(other, state, commands)
    end
  end

  def handle([{:disconnect, code, properties} | _], _handler, state, commands),
    do: {:disconnect, code, properties, state, commands}

  def handle([], _handler, state, commands), do: {:ok, state, commands}

  # `acked` messages of QoS 1 and 2 have been handled and are not among the commands yet.

  # QoS 0, which nobody acknowledges. What most callbacks say is seen to here, and anything else in a call of its own, as is what was raised.
  defp publishes(
         [{:publish, topic, message, opts} | events],
         callback,
         handler,
         state,
         acked,
         all
       ) do
    try do
      callback.(topic, message, opts, state)
    catch
      kind, value ->
        kind
        |> caught(value, __STACKTRACE__)
        |> published(events, callback, handler, state, acked, all)
    else
      {:ok, state} -> publishes(events, callback, handler, state, acked, all)
      result -> published(result, events, callback, handler, state, acked, all)
    end
  end

  defp publishes([{_, topic, message, opts, _id} | events], callback, handler, state, acked, all) do
    try do
      callback.(topic, message, opts, state)
    catch
      kind, value ->
        kind
        |> caught(value, __STACKTRACE__)
        |> acknowledged(events, callback, handler, state, acked, all)
    else
      {:ok, state} -> publishes(events, callback, handler, state, acked + 1, all)
      result -> acknowledged(result, events, callback, handler, state, acked, all)
    end
  end

  defp publishes(events, _callback, handler, state, acked, commands),
    do: handle(events, handler, state, acked(acked, commands))

  # What the callback has said of a message of QoS 0.
  defp published(result, events, callback, handler, state, acked, all) do
    case result do
      {:ok, state} ->
        publishes(events, callback, handler, state, acked, all)

      {:ok, state, actions} ->
        publishes_acting(actions, events, callback, handler, state, acked(acked, all))

      {:error, _reason, state} ->
        publishes(events, callback, handler, state, acked, all)

      {:error, _reason, state, actions} ->
        publishes_acting(actions, events, callback, handler, state, acked(acked, all))

      other ->
        stop(other, state, acked(acked, all))
    end
  end

  # And of one of QoS 1 or 2.
  defp acknowledged(result, events, callback, handler, state, acked, all) do
    case result do
      {:ok, state} ->
        publishes(events, callback, handler, state, acked + 1, all)

      {:ok, state, actions} ->
        publishes_acting(actions, events, callback, handler, state, acked(acked + 1, all))

      {:error, reason, state} ->
        publishes_refusing(reason, [], events, callback, handler, state, acked(acked, all))

      {:error, reason, state, actions} ->
        publishes_refusing(reason, actions, events, callback, handler, state, acked(acked, all))

      other ->
        stop(other, state, acked(acked, all))
    end
  end

  defp publishes_acting(actions, events, callback, handler, state, commands) do
    case add(actions, commands) do
      {:ok, commands} -> publishes(events, callback, handler, state, 0, commands)
      {:error, reason, commands} -> {:stop, reason, state, commands}
    end
  end

  defp publishes_refusing(reason, actions, events, callback, handler, state, commands) do
    case reason(reason) do
      {:ok, code, properties} ->
        commands = put({:refuse, code, properties}, commands)
        publishes_acting(actions, events, callback, handler, state, commands)

      :error ->
        {:stop, bad_reason(reason), state, commands}
    end
  end

  # One command for a run of acknowledgements.
  defp acked(0, commands), do: commands
  defp acked(acked, commands), do: put({:acked, acked}, commands)

  defp act(actions, state, commands, events, handler) do
    case add(actions, commands) do
      {:ok, commands} -> handle(events, handler, state, commands)
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

  defp subscribe([{filter, options} | filters], handler, state, codes, properties, actions) do
    result =
      if :handle_subscribe in handler.optional do
        call(handler.module, :handle_subscribe, [filter, options.qos, options, state])
      else
        call(handler.module, :handle_subscribe, [filter, options.qos, state])
      end

    case answer(result, &granted(&1, options.qos)) do
      {:ok, code, more_properties, state, more} ->
        properties = Map.merge(properties, more_properties)
        subscribe(filters, handler, state, [code | codes], properties, [more | actions])

      {:stop, result} ->
        {:stop, result, state, flat(actions)}
    end
  end

  defp subscribe([], _handler, state, codes, properties, actions),
    do: {:ok, state, Enum.reverse(codes), properties, flat(actions)}

  defp unsubscribe([filter | filters], options, handler, state, codes, properties, actions) do
    result =
      if :handle_unsubscribe in handler.optional do
        call(handler.module, :handle_unsubscribe, [filter, options, state])
      else
        call(handler.module, :handle_unsubscribe, [filter, state])
      end

    # Success has no value of its own here.
    result =
      case result do
        {:ok, state} -> {:ok, 0, state}
        {:ok, state, actions} -> {:ok, 0, state, actions}
        other -> other
      end

    case answer(result, fn 0 -> {:ok, 0x00} end) do
      {:ok, code, more_properties, state, more} ->
        codes = [code | codes]
        properties = Map.merge(properties, more_properties)
        unsubscribe(filters, options, handler, state, codes, properties, [more | actions])

      {:stop, result} ->
        {:stop, result, state, flat(actions)}
    end
  end

  defp unsubscribe([], _options, _handler, state, codes, properties, actions),
    do: {:ok, state, Enum.reverse(codes), properties, flat(actions)}

  # What a callback for a filter returned, as a code.
  defp answer({:ok, value, state}, code), do: answer({:ok, value, state, []}, code)

  defp answer({:ok, value, state, actions} = result, code) do
    case code.(value) do
      {:ok, code} -> {:ok, code, %{}, state, actions}
      :error -> {:stop, result}
    end
  end

  defp answer({:error, reason, state}, code), do: answer({:error, reason, state, []}, code)

  defp answer({:error, reason, state, actions}, _code) do
    case reason(reason) do
      {:ok, code, properties} -> {:ok, code, properties, state, actions}
      :error -> {:stop, {:stop, bad_reason(reason)}}
    end
  end

  defp answer(other, _code), do: {:stop, other}

  # More than the client asked for is not granted.
  defp granted(:failed, _requested), do: {:ok, 0x80}
  defp granted(qos, requested) when qos in [0, 1, 2], do: {:ok, min(qos, requested)}
  defp granted(_other, _requested), do: :error

  defp flat(actions), do: actions |> Enum.reverse() |> Enum.flat_map(&List.wrap/1)

  @doc "The code and the properties of a reason as callbacks give it."
  @spec reason(term) :: {:ok, 0..255, map} | :error
  def reason({reason, properties}) when is_map(properties) do
    with {:ok, code} <- Reason.fetch(reason), do: {:ok, code, properties}
  end

  def reason(reason), do: reason({reason, %{}})

  defp bad_reason(reason) do
    {ArgumentError.exception("#{inspect(reason)} is no reason code of MQTT.Reason"), []}
  end

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

  defp add_one({:publish, _topic, message} = publish, {list, count, bytes, ours?, refs}),
    do: {:ok, {[publish | list], count + 1, bytes + size(message), ours?, refs}}

  defp add_one({:publish, topic, message, %{ref: ref} = opts}, commands) do
    number = number()
    {list, count, bytes, ours?, refs} = commands
    publish = {:publish, topic, message, %{opts | ref: number}}
    {:ok, {[publish | list], count + 1, bytes + size(message), ours?, [{number, ref} | refs]}}
  end

  defp add_one({:publish, _topic, message, _opts} = publish, {list, count, bytes, ours?, refs}),
    do: {:ok, {[publish | list], count + 1, bytes + size(message), ours?, refs}}

  defp add_one({:reply, _from, _reply} = reply, commands), do: {:ok, put_ours(reply, commands)}

  defp add_one({:disconnect, {reason, properties}}, commands),
    do: add_one({:disconnect, reason, properties}, commands)

  defp add_one({:disconnect, reason}, commands),
    do: add_one({:disconnect, reason, %{}}, commands)

  defp add_one({:disconnect, reason, properties} = action, commands) when is_map(properties) do
    case reason({reason, properties}) do
      {:ok, code, properties} -> {:ok, put_ours({:disconnect, code, properties}, commands)}
      :error -> {:error, bad_action(action, "there is no such reason code"), commands}
    end
  end

  defp add_one(other, commands) do
    {:error, bad_action(other, "it is none of those that MQTT.Server has"), commands}
  end

  @doc "A number for a reference, by which the native side knows it. No two connections share one."
  @spec number() :: pos_integer
  def number, do: :erlang.unique_integer([:positive])

  defp put(command, {list, count, bytes, ours?, refs}),
    do: {[command | list], count + 1, bytes, ours?, refs}

  defp put_auth(code, properties, commands), do: put_ours({:auth, code, properties}, commands)

  # One that the process carries out itself.
  defp put_ours(command, {list, count, bytes, _ours?, refs}),
    do: {[command | list], count + 1, bytes, true, refs}

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

  @doc "Calls a callback. One that raises or exits stops the connection, which keeps its state."
  @spec call(module, atom, [term]) :: term
  def call(module, function, arguments) do
    apply(module, function, arguments)
  catch
    kind, value -> caught(kind, value, __STACKTRACE__)
  end

  @doc """
  Calls a callback with what a client has sent to show who it is. If that raises, the stacktrace is without it, which otherwise
  has the arguments of a function that has no clause for them.
  """
  @spec confidential((() -> result)) :: result when result: term
  def confidential(callback) do
    callback.()
  catch
    :error, error -> :erlang.raise(:error, error, without_arguments(__STACKTRACE__))
  end

  defp without_arguments([{module, function, arguments, location} | callers])
       when is_list(arguments),
       do: [{module, function, length(arguments), location} | callers]

  defp without_arguments(stacktrace), do: stacktrace

  # As in a gen_server: what is thrown is the return value.
  defp caught(:throw, value, _stacktrace), do: value
  defp caught(:exit, reason, _stacktrace), do: {:stop, reason}
  defp caught(:error, error, stacktrace), do: {:stop, {error, stacktrace}}

  defp stop({:stop, reason}, state, commands), do: {:stop, reason, state, commands}
  defp stop(other, state, commands), do: {:stop, {:bad_return_value, other}, state, commands}
end
