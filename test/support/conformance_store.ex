defmodule MQTT.Test.ConformanceStore do
  @moduledoc false
  # What the broker of the conformance tests keeps in an ETS table: the session of each client
  # identifier, with its subscriptions, and the retained messages.

  @doc "A table that lasts as long as the test."
  def start do
    new = fn -> :ets.new(__MODULE__, [:public, :ordered_set]) end
    ExUnit.Callbacks.start_supervised!({Agent, new}, id: make_ref()) |> Agent.get(& &1)
  end

  @doc "The session of a client identifier, maybe a new one, for a connection."
  def resume(id, store) do
    for {_, pid} <- :ets.take(store, {:absent, id}) do
      ref = Process.monitor(pid)
      send(pid, :resumed)
      receive do: ({:DOWN, ^ref, _, _, _} -> :ok)
    end

    _ = :ets.insert_new(store, {{:session, id}, MQTT.Session.new()})
    :ets.lookup_element(store, {:session, id}, 2)
  end

  @doc "Keeps the session of the calling connection, which ends, for its expiry interval."
  def leave(id, store) do
    case MQTT.Session.info(MQTT.Session.current()).expiry_interval do
      0 -> :ets.delete(store, {:session, id})
      :infinity -> :ok
      seconds -> :ets.insert(store, {{:absent, id}, spawn(fn -> expire(id, seconds, store) end)})
    end
  end

  defp expire(id, seconds, store) do
    # Ends with the test.
    Process.link(:ets.info(store, :owner))

    receive do
      :resumed -> :ok
    after
      min(seconds * 1_000, 0xFFFF_FFFF) -> :ets.delete(store, {:session, id})
    end
  end

  @doc "Retains a message if it says so, and gives it to the subscribers, of which a list comes back."
  def publish(topic, message, opts, publisher, store) do
    if opts.retain, do: retain(topic, message, opts, store)

    for {session, matching} <- plain(topic, publisher, store) ++ shared(topic, store) do
      # One of QoS 0 is dropped if the client is not there.
      MQTT.Session.publish(session, topic, message, delivered(matching, opts))
    end
  end

  defp retain(topic, "", _opts, store), do: :ets.delete(store, {:retained, topic})

  defp retain(topic, message, opts, store),
    do: :ets.insert(store, {{:retained, topic}, message, opts, now()})

  defp now, do: System.monotonic_time(:second)

  # Each session with the options of its subscriptions that match.
  defp plain(topic, publisher, store) do
    for [id, session] <- sessions(store),
        matching =
          for(
            {filter, options} <- MQTT.Session.subscriptions(session),
            matches?(filter, topic),
            not (options.no_local and id == publisher),
            do: options
          ),
        matching != [],
        do: {session, matching}
  end

  # Of each group a member, in turn.
  defp shared(topic, store) do
    members =
      for [_id, session] <- sessions(store),
          {"$share/" <> shared, options} <- MQTT.Session.subscriptions(session),
          [_group, filter] = String.split(shared, "/", parts: 2),
          matches?(filter, topic),
          do: {shared, {session, [options]}}

    for {group, members} <- Enum.group_by(members, &elem(&1, 0), &elem(&1, 1)) do
      turn = :ets.update_counter(store, {:turn, group}, 1, {{:turn, group}, 0})
      Enum.at(members, rem(turn, length(members)))
    end
  end

  defp sessions(store), do: :ets.match(store, {{:session, :"$1"}, :"$2"})

  # One copy for all subscriptions that match, at the best QoS of theirs.
  defp delivered(matching, opts) do
    %{
      qos: min(opts.qos, matching |> Enum.map(& &1.qos) |> Enum.max()),
      retain: opts.retain and Enum.any?(matching, & &1.retain_as_published),
      properties: opts |> properties() |> identified(matching)
    }
  end

  defp properties(opts), do: Map.get(opts, :properties, %{})

  defp identified(properties, matching) do
    case for %{subscription_identifier: identifier} <- matching, do: identifier do
      [] -> properties
      identifiers -> Map.put(properties, :subscription_identifier, identifiers)
    end
  end

  @doc """
  The retained messages for a subscription, which is `there` already or new, as its Retain Handling
  [MQTT-3.3.1-9] and their expiry intervals [MQTT-3.3.2-5] [MQTT-3.3.2-6] have it.
  """
  def retained("$share/" <> _, _there, _options, _store), do: []
  def retained(_filter, _there, %{retain_handling: 2}, _store), do: []
  def retained(_filter, true, %{retain_handling: 1}, _store), do: []

  def retained(filter, _there, options, store) do
    for [topic, message, opts, since] <-
          :ets.match(store, {{:retained, :"$1"}, :"$2", :"$3", :"$4"}),
        matches?(filter, topic),
        properties = aged(properties(opts), now() - since) do
      properties = identified(properties, [options])
      {topic, message, %{qos: min(opts.qos, options.qos), retain: true, properties: properties}}
    end
  end

  # What is left of the Message Expiry Interval, or nil if nothing is.
  defp aged(%{message_expiry_interval: interval}, age) when interval <= age, do: nil

  defp aged(%{message_expiry_interval: interval} = properties, age),
    do: %{properties | message_expiry_interval: interval - age}

  defp aged(properties, _age), do: properties

  # Whether a topic name matches a topic filter (section 4.7).
  defp matches?(<<wildcard, _::binary>>, "$" <> _) when wildcard in [?+, ?#], do: false
  defp matches?(filter, topic), do: levels?(String.split(filter, "/"), String.split(topic, "/"))

  defp levels?(["#"], _), do: true
  defp levels?([level | filter], [level | topic]), do: levels?(filter, topic)
  defp levels?(["+" | filter], [_ | topic]), do: levels?(filter, topic)
  defp levels?([], []), do: true
  defp levels?(_, _), do: false
end
