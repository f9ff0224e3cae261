# A broker whose clients may come back: their sessions are in an ETS table, and each message is put
# into those that have a matching subscription, whether their clients are connected or not.
defmodule Sessions do
  use MQTT.Server
  alias MQTT.Session

  @impl true
  def init(_args, %{client_id: client_id}) do
    # A client without an identifier has nothing to come back by.
    key = if client_id == "", do: make_ref(), else: client_id
    :ets.insert_new(__MODULE__, {key, Session.new(), 0})
    # How many connections there have been, by which the end of one knows whether it was the last.
    count = :ets.update_counter(__MODULE__, key, {3, 1})
    [{_, session, _}] = :ets.lookup(__MODULE__, key)
    {:ok, {key, count}, [{:session, session}, {:will, :auto}]}
  end

  @impl true
  def handle_publish(topic, message, opts, s) do
    for {_, session, _} <- :ets.tab2list(__MODULE__), qos = granted(session, topic) do
      options = opts |> Map.take([:qos, :properties]) |> Map.put(:max_qos, qos)
      # A session that is full, or a client that is away at QoS 0, misses it.
      _ = Session.publish(session, topic, message, options)
    end

    {:ok, s}
  end

  # The library keeps the subscription in the session.
  @impl true
  def handle_subscribe(_filter, qos, s), do: {:ok, qos, s}

  @impl true
  def terminate(_reason, {key, count}) do
    case Session.info(Session.current()).expiry_interval do
      :infinity -> :ok
      seconds -> :timer.apply_after(seconds * 1000, __MODULE__, :expire, [key, count])
    end
  end

  # Unless the client has come back since.
  def expire(key, count), do: :ets.match_delete(__MODULE__, {key, :_, count})

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
