defmodule MQTT.Test.ConformanceBroker do
  @moduledoc false
  # A small broker for the conformance tests: routing, retained messages, wills, sessions.
  #
  # The test's process is told {:publish, client_id, topic, message, opts} for what comes, and
  # {:ended, client_id, reason} when a connection has ended and its will is published.
  #
  # What is refused goes by name: a client "refused", the password "wrong", the user name "broken" (which
  # is no refusal that MQTT 3.1.1 has a code for), topics and filters under "denied/". A message to "raise"
  # is an error in the handler.

  use MQTT.Server

  # Until sessions are there, messages go to the process of the client, and only at QoS 0.
  @sessions match?({:module, _}, Code.ensure_compiled(MQTT.Session))
  @compile {:no_warn_undefined, MQTT.Session}

  @doc """
  Starts a broker with these options of a listener, and gives its port. `connack` are properties of its
  CONNACK in MQTT 5.0.
  """
  def broker(options \\ [], connack \\ %{}) do
    table = fn -> :ets.new(__MODULE__, [:public, :ordered_set, write_concurrency: true]) end
    agent = ExUnit.Callbacks.start_supervised!({Agent, table}, id: make_ref())
    args = %{table: Agent.get(agent, & &1), test: self(), connack: connack}

    MQTT.Test.Acceptor.start(
      transport: :listener,
      module: __MODULE__,
      args: args,
      options: options
    )
  end

  @impl true
  def init(_args, %{client_id: "refused"}), do: {:stop, :identifier_rejected}
  def init(_args, %{password: "wrong"}), do: {:stop, :bad_username_or_password}
  def init(_args, %{username: "broken"}), do: {:stop, :database_is_gone}

  def init(%{connack: %{maximum_qos: max}}, %{last_will: %{qos: qos}}) when qos > max,
    do: {:stop, :qos_not_supported}

  def init(%{connack: %{retain_available: 0}}, %{last_will: %{retain: true}}),
    do: {:stop, :retain_not_supported}

  def init(args, params) do
    # Nobody is told the identifier, which is unique all the same [MQTT-3.1.3-6].
    id = if params.client_id == "", do: inspect(make_ref()), else: params.client_id
    s = Map.merge(args, %{id: id, will: params[:last_will], session: nil})
    send(s.test, {:init, id, params})
    if @sessions, do: resume(s), else: start(s)
  end

  defp resume(s) do
    _ = :ets.insert_new(s.table, {{:client, s.id}, MQTT.Session.new()})
    [{_, session}] = :ets.lookup(s.table, {:client, s.id})
    {:ok, %{s | session: session}, [{:session, session}, {:will, :auto}, {:connack, s.connack}]}
  end

  defp start(s) do
    with [{_, pid}] <- :ets.lookup(s.table, {:client, s.id}), do: stop_old(pid)
    :ets.insert(s.table, {{:client, s.id}, self()})
    :ets.match_delete(s.table, {{:subscription, s.id, :_}, :_})
    {:ok, s}
  end

  defp stop_old(pid) do
    MQTT.Server.stop(pid, {:shutdown, :session_taken_over}, 5_000)
  catch
    :exit, _ -> :ok
  end

  @impl true
  def handle_publish("raise", _message, _opts, _s), do: raise("told to")

  def handle_publish(topic, message, opts, s) do
    send(s.test, {:publish, s.id, topic, message, opts})

    cond do
      String.starts_with?(topic, "denied/") -> {:error, :not_authorized, s}
      route(topic, message, opts, s) == [] -> {:error, :no_matching_subscribers, s}
      true -> {:ok, s}
    end
    |> without_reasons()
  end

  # MQTT 3.1.1 has no reasons, and the library takes none so far.
  if @sessions do
    defp without_reasons(result), do: result
  else
    defp without_reasons(result), do: {:ok, elem(result, tuple_size(result) - 1)}
  end

  defp route(topic, message, opts, s) do
    if opts.retain, do: retain(topic, message, opts, s.table)

    for {client, matching} <- plain(topic, s) ++ shared(topic, s) do
      deliver(client, topic, message, delivered(matching, opts))
    end
  end

  defp retain(topic, "", _opts, table), do: :ets.delete(table, {:retained, topic})

  defp retain(topic, message, opts, table),
    do: :ets.insert(table, {{:retained, topic}, message, opts, now()})

  defp now, do: System.monotonic_time(:second)

  defp clients(s), do: :ets.match(s.table, {{:client, :"$1"}, :"$2"})

  # Each client with what of its subscriptions matches.
  defp plain(topic, s) do
    for [id, client] <- clients(s),
        options =
          for(
            {filter, options} <- subscriptions(id, client, s),
            matches?(filter, topic),
            do: options
          ),
        options = Enum.reject(options, &(id == s.id and Map.get(&1, :no_local, false))),
        options != [],
        do: {client, options}
  end

  # Of each group a member with its subscription, in turn.
  defp shared(topic, s) do
    members =
      for [id, client] <- clients(s),
          {"$share/" <> shared, options} <- subscriptions(id, client, s),
          [_group, filter] = String.split(shared, "/", parts: 2),
          matches?(filter, topic),
          do: {shared, {client, [options]}}

    for {group, members} <- Enum.group_by(members, &elem(&1, 0), &elem(&1, 1)) do
      turn = :ets.update_counter(s.table, {:turn, group}, 1, {{:turn, group}, 0})
      Enum.at(members, rem(turn, length(members)))
    end
  end

  # One copy for all subscriptions that match, at the best QoS of theirs.
  defp delivered(matching, opts) do
    %{
      qos: min(opts.qos, matching |> Enum.map(& &1.qos) |> Enum.max()),
      retain: opts.retain and Enum.any?(matching, &Map.get(&1, :retain_as_published, false)),
      properties: opts |> properties() |> identified(matching)
    }
  end

  # The alias is between the publisher and us.
  defp properties(opts), do: opts |> Map.get(:properties, %{}) |> Map.delete(:topic_alias)

  defp identified(properties, matching) do
    case for %{subscription_identifier: identifier} <- matching, do: identifier do
      [] -> properties
      identifiers -> Map.put(properties, :subscription_identifier, identifiers)
    end
  end

  if @sessions do
    defp subscriptions(_id, session, _s), do: MQTT.Session.subscriptions(session)

    defp deliver(session, topic, message, opts),
      do: MQTT.Session.publish(session, topic, message, opts)
  else
    defp subscriptions(id, _pid, s) do
      for [filter, options] <- :ets.match(s.table, {{:subscription, id, :"$1"}, :"$2"}),
          do: {filter, options}
    end

    defp deliver(pid, topic, message, opts) do
      send(pid, {:deliver, topic, message, %{qos: 0, retain: opts.retain}})
    end
  end

  @doc "Whether a topic name matches a topic filter (section 4.7)."
  def matches?(<<wildcard, _::binary>>, "$" <> _) when wildcard in '+#', do: false
  def matches?(filter, topic), do: levels?(String.split(filter, "/"), String.split(topic, "/"))

  defp levels?(["#"], _), do: true
  defp levels?([level | filter], [level | topic]), do: levels?(filter, topic)
  defp levels?(["+" | filter], [_ | topic]), do: levels?(filter, topic)
  defp levels?([], []), do: true
  defp levels?(_, _), do: false

  @impl true
  def handle_subscribe(filter, qos, s), do: handle_subscribe(filter, qos, %{}, s)

  def handle_subscribe("denied/" <> _, _qos, _options, s) do
    if @sessions, do: {:error, :not_authorized, s}, else: {:ok, :failed, s}
  end

  def handle_subscribe(filter, qos, options, s) do
    retained = retained(filter, Map.put(options, :qos, qos), s)

    unless @sessions,
      do: :ets.insert(s.table, {{:subscription, s.id, filter}, Map.put(options, :qos, qos)})

    {:ok, min(qos, Map.get(s.connack, :maximum_qos, 2)), s, retained}
  end

  # The retained messages for a subscription, as its Retain Handling has it.
  defp retained("$share/" <> _, _options, _s), do: []
  defp retained(_filter, %{retain_handling: 2}, _s), do: []

  defp retained(filter, options, s) do
    if options[:retain_handling] == 1 and subscribed?(filter, s) do
      []
    else
      for [topic, message, opts, since] <-
            :ets.match(s.table, {{:retained, :"$1"}, :"$2", :"$3", :"$4"}),
          matches?(filter, topic),
          properties = aged(properties(opts), now() - since),
          do: {:publish, topic, message, retained_opts(options, opts, properties)}
    end
  end

  defp retained_opts(options, opts, properties) do
    opts = %{qos: min(opts.qos, options.qos), retain: true}
    properties = identified(properties, [options])
    # Not before MQTT 5.0.
    if properties == %{}, do: opts, else: Map.put(opts, :properties, properties)
  end

  # What is left of the Message Expiry Interval, or nil if nothing is.
  defp aged(%{message_expiry_interval: interval}, age) when interval <= age, do: nil

  defp aged(%{message_expiry_interval: interval} = properties, age),
    do: %{properties | message_expiry_interval: interval - age}

  defp aged(properties, _age), do: properties

  defp subscribed?(filter, s),
    do: s.id |> subscriptions(s.session, s) |> List.keymember?(filter, 0)

  @impl true
  def handle_unsubscribe(filter, s) do
    there = subscribed?(filter, s)
    unless @sessions, do: :ets.delete(s.table, {:subscription, s.id, filter})
    if there or not @sessions, do: {:ok, s}, else: {:error, :no_subscription_existed, s}
  end

  def handle_unsubscribe(filter, _options, s), do: handle_unsubscribe(filter, s)

  @impl true
  def handle_info({:deliver, topic, message, opts}, s),
    do: {:ok, s, {:publish, topic, message, opts}}

  @impl true
  def terminate(reason, s) do
    unless @sessions, do: end_without_session(reason, s)
    send(s.test, {:ended, s.id, reason})
  end

  defp end_without_session(reason, s) do
    if s.will && reason != :normal, do: route(s.will.topic, s.will.message, s.will, s)
    :ets.match_delete(s.table, {{:subscription, s.id, :_}, :_})
    :ets.delete_object(s.table, {{:client, s.id}, self()})
  end
end
