defmodule MQTT.Test.ConformanceBroker do
  @moduledoc false
  # A small broker for the conformance tests: routing, retained messages, wills, sessions.
  #
  # The test's process is told {:publish, client_id, topic, message, opts} for what comes, and
  # {:ended, client_id, reason} when a connection has ended and its will is published.
  #
  # What is refused goes by name: a client "refused", the password "wrong", the user name "broken" (which
  # is no refusal that MQTT has a code for), topics and filters under "denied/". A message to "raise" is
  # an error in the handler.

  use MQTT.Server

  # Until sessions are there, messages go to the process of the client, and only at QoS 0.
  @sessions match?({:module, _}, Code.ensure_compiled(MQTT.Session))
  @compile {:no_warn_undefined, MQTT.Session}

  @doc "Starts a broker with these options of a listener, and gives its port."
  def broker(options \\ []) do
    table = fn -> :ets.new(__MODULE__, [:public, :ordered_set, write_concurrency: true]) end
    agent = ExUnit.Callbacks.start_supervised!({Agent, table}, id: make_ref())
    args = %{table: Agent.get(agent, & &1), test: self()}

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
    {:ok, %{s | session: session}, [{:session, session}, {:will, :auto}]}
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

    for [id, client] <- :ets.match(s.table, {{:client, :"$1"}, :"$2"}),
        matching = matching(id, client, topic, s),
        matching != [] do
      deliver(client, topic, message, delivered(matching, opts))
    end
  end

  defp retain(topic, "", _opts, table), do: :ets.delete(table, {:retained, topic})

  defp retain(topic, message, opts, table),
    do: :ets.insert(table, {{:retained, topic}, message, opts})

  # One copy for all that match, at the best QoS of theirs.
  defp delivered(matching, opts) do
    identifiers = for %{subscription_identifier: identifier} <- matching, do: identifier
    properties = Map.get(opts, :properties, %{})

    %{
      qos: min(opts.qos, matching |> Enum.map(& &1.qos) |> Enum.max()),
      retain: opts.retain and Enum.any?(matching, & &1[:retain_as_published]),
      properties:
        if(identifiers == [],
          do: properties,
          else: Map.put(properties, :subscription_identifier, identifiers)
        )
    }
  end

  defp matching(id, client, topic, s) do
    for {filter, options} <- subscriptions(id, client, s),
        matches?(filter, topic),
        not (id == s.id and Map.get(options, :no_local, false)),
        do: options
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

  def handle_subscribe("denied/" <> _, _qos, _options, s), do: {:ok, :failed, s}

  def handle_subscribe(filter, qos, options, s) do
    unless @sessions,
      do: :ets.insert(s.table, {{:subscription, s.id, filter}, Map.put(options, :qos, qos)})

    {:ok, qos, s, retained(filter, qos, options, s)}
  end

  # The messages that are retained for a new subscription, or for all [MQTT-3.3.1-6, 3.3.1-9 to -11].
  defp retained(filter, qos, _options, s) do
    for [topic, message, opts] <- :ets.match(s.table, {{:retained, :"$1"}, :"$2", :"$3"}),
        matches?(filter, topic) do
      {:publish, topic, message, %{qos: min(opts.qos, qos), retain: true}}
    end
  end

  @impl true
  def handle_unsubscribe(filter, s) do
    :ets.delete(s.table, {:subscription, s.id, filter})
    {:ok, s}
  end

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
