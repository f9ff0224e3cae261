# A broker whose clients may come back: their sessions are in an ETS table, and each message is put
# into those that have a matching subscription, whether their clients are connected or not.
defmodule Sessions do
  use MQTT.Server
  alias MQTT.Session

  @impl true
  def init(_args, %{client_id: client_id}) do
    # A client without an identifier has nothing to come back by.
    key = if client_id == "", do: make_ref(), else: client_id
    :ets.insert_new(__MODULE__, {key, Session.new()})
    [{_, session}] = :ets.lookup(__MODULE__, key)
    {:ok, key, [{:session, session}, {:will, :auto}]}
  end

  @impl true
  def handle_publish(topic, message, opts, key) do
    for {_, session} <- :ets.tab2list(__MODULE__), qos = granted(session, topic) do
      options = opts |> Map.take([:qos, :properties]) |> Map.put(:max_qos, qos)
      # A session that is full, or a client that is away at QoS 0, misses it.
      _ = Session.publish(session, topic, message, options)
    end

    {:ok, key}
  end

  # The library keeps the subscription in the session.
  @impl true
  def handle_subscribe(_filter, qos, key), do: {:ok, qos, key}

  @impl true
  def terminate(_reason, key) do
    case Session.info(Session.current()) do
      # Another connection has taken it over.
      %{connection: pid} when pid != self() ->
        :ok

      %{expiry_interval: :infinity} ->
        :ok

      %{expiry_interval: 0} ->
        :ets.delete(__MODULE__, key)

      %{expiry_interval: seconds} ->
        :timer.apply_after(seconds * 1000, __MODULE__, :expire, [key])
    end
  end

  def expire(key) do
    with [{_, session}] <- :ets.lookup(__MODULE__, key),
         %{connection: nil} <- Session.info(session),
         do: :ets.delete(__MODULE__, key)
  end

  # The highest QoS that was granted for the topic, if one was.
  defp granted(session, topic) do
    levels = String.split(topic, "/")

    for(
      {filter, %{qos: qos}} <- Session.subscriptions(session),
      matches?(levels, filter),
      do: qos
    )
    |> Enum.max(fn -> nil end)
  end

  # Wildcards do not match the first level of $SYS and its like [MQTT-4.7.2-1].
  defp matches?(["$" <> _ | _], <<wildcard, _::binary>>) when wildcard in [?+, ?#], do: false
  defp matches?(levels, filter), do: below?(levels, String.split(filter, "/"))

  defp below?(_levels, ["#"]), do: true
  defp below?([_ | levels], ["+" | filter]), do: below?(levels, filter)
  defp below?([level | levels], [level | filter]), do: below?(levels, filter)
  defp below?(levels, filter), do: levels == filter
end

{options, []} = OptionParser.parse!(System.argv(), strict: [port: :integer])
:ets.new(Sessions, [:named_table, :public, read_concurrency: true])
options = Keyword.merge([ip: {127, 0, 0, 1}, port: 1883, handler: {Sessions, []}], options)

{:ok, listener} = MQTT.Listener.start_link(options)
port = MQTT.Listener.info(listener).port
IO.puts("Listening on 127.0.0.1:#{port}. To subscribe, leave, and find what came meanwhile:")
IO.puts("  mosquitto_sub -h 127.0.0.1 -p #{port} -i me -c -q 1 -t 'hello/#'")
IO.puts("  mosquitto_pub -h 127.0.0.1 -p #{port} -q 1 -t hello/you -m world")
Process.sleep(:infinity)
