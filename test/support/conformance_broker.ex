defmodule MQTT.Test.ConformanceBroker do
  @moduledoc false
  # A small broker for the conformance tests. What it keeps is in MQTT.Test.ConformanceStore.
  #
  # The test's process is told {:init, client_id, params}, {:publish, client_id, topic, message, opts}
  # for what comes, and {:ended, client_id, reason} when a connection has ended.
  #
  # What is refused goes by name: a client "refused", the password "wrong", the user name "broken" (for
  # which no version has a code), topics and filters under "denied/". A message to "raise" is an error
  # in the handler.

  use MQTT.Server

  alias MQTT.Test.ConformanceStore, as: Store

  @doc """
  Starts a broker with these options of a listener, and gives its port. `connack` are properties of its
  CONNACK in MQTT 5.0. With MQTT_TEST_BROKER=1 in the environment it is a `MQTT.Broker`.
  """
  def broker(options \\ [], connack \\ %{}) do
    if System.get_env("MQTT_TEST_BROKER"),
      do: MQTT.Test.ConformanceRules.broker(options, connack),
      else: small(options, connack)
  end

  defp small(options, connack) do
    args = %{store: Store.start(), test: self(), connack: connack}
    server = [transport: :listener, module: __MODULE__, args: args, options: options]
    MQTT.Test.Acceptor.start(server)
  end

  @impl true
  def init(_args, %{client_id: "refused"}), do: {:stop, :client_identifier_not_valid}
  def init(_args, %{password: "wrong"}), do: {:stop, :bad_user_name_or_password}
  def init(_args, %{username: "broken"}), do: {:stop, :database_is_gone}

  def init(%{connack: %{maximum_qos: max}}, %{last_will: %{qos: qos}}) when qos > max,
    do: {:stop, :qos_not_supported}

  def init(%{connack: %{retain_available: 0}}, %{last_will: %{retain: true}}),
    do: {:stop, :retain_not_supported}

  def init(args, params) do
    # MQTT 3.1.1 tells no client the identifier it was given, which is unique all the same [MQTT-3.1.3-6].
    id = if params.client_id == "", do: inspect(make_ref()), else: params.client_id
    s = Map.merge(args, %{id: id, unsubscribed: {nil, []}})
    send(s.test, {:init, id, params})
    session = Store.resume(id, s.store)
    {:ok, s, [{:session, session}, {:will, :auto}, {:connack, s.connack}]}
  end

  @impl true
  def handle_publish("raise", _message, _opts, _s), do: raise("told to")

  def handle_publish(topic, message, opts, s) do
    send(s.test, {:publish, s.id, topic, message, opts})

    cond do
      String.starts_with?(topic, "denied/") ->
        {:error, :not_authorized, s}

      Store.publish(topic, message, opts, s.id, s.store) == [] ->
        {:error, :no_matching_subscribers, s}

      true ->
        {:ok, s}
    end
  end

  @impl true
  def handle_subscribe("denied/" <> _, _qos, _options, s), do: {:error, :not_authorized, s}

  def handle_subscribe(filter, qos, options, s) do
    qos = min(qos, Map.get(s.connack, :maximum_qos, 2))
    options = Map.put(options, :qos, qos)
    there = subscribed?(filter)

    retained =
      for {topic, message, opts} <- Store.retained(filter, there, options, s.store),
          do: {:publish, topic, message, opts}

    {:ok, qos, s, retained}
  end

  # The session has the subscription until UNSUBACK, so a filter that comes twice is seen here.
  @impl true
  def handle_unsubscribe(filter, %{packet_id: packet_id}, s) do
    before = with {^packet_id, filters} <- s.unsubscribed, do: filters, else: (_ -> [])
    s = %{s | unsubscribed: {packet_id, [filter | before]}}

    if subscribed?(filter) and filter not in before,
      do: {:ok, s},
      else: {:error, :no_subscription_existed, s}
  end

  defp subscribed?(filter) do
    MQTT.Session.current() |> MQTT.Session.subscriptions() |> List.keymember?(filter, 0)
  end

  @impl true
  def terminate(reason, s) do
    # Another connection has the session otherwise.
    if reason != {:shutdown, :session_taken_over}, do: Store.leave(s.id, s.store)
    send(s.test, {:ended, s.id, reason})
  end
end
