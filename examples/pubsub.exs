# A broker for QoS 0: the filters of all clients are in a Registry, and each message is sent to those
# whose filter matches.
defmodule PubSub do
  use MQTT.Server

  @impl true
  def init(_args, _params), do: {:ok, nil}

  @impl true
  def handle_publish(topic, message, _opts, nil) do
    levels = String.split(topic, "/")

    # A client with several matching filters gets the message once.
    Registry.dispatch(__MODULE__, :filters, fn entries ->
      pids = for {pid, filter} <- entries, matches?(levels, filter), uniq: true, do: pid
      Enum.each(pids, &send(&1, {:message, topic, message}))
    end)

    {:ok, nil}
  end

  @impl true
  def handle_subscribe(filter, _qos, nil) do
    {:ok, nil} = handle_unsubscribe(filter, nil)
    {:ok, _} = Registry.register(__MODULE__, :filters, String.split(filter, "/"))
    {:ok, 0, nil}
  end

  @impl true
  def handle_unsubscribe(filter, nil) do
    :ok = Registry.unregister_match(__MODULE__, :filters, String.split(filter, "/"))
    {:ok, nil}
  end

  @impl true
  def handle_info({:message, topic, message}, nil), do: {:ok, nil, {:publish, topic, message}}

  # Wildcards do not match the first level of $SYS and its like [MQTT-4.7.2-1].
  defp matches?(["$" <> _ | _], [wildcard | _]) when wildcard in ["+", "#"], do: false
  defp matches?(levels, filter), do: below?(levels, filter)

  defp below?(_levels, ["#"]), do: true
  defp below?([_ | levels], ["+" | filter]), do: below?(levels, filter)
  defp below?([level | levels], [level | filter]), do: below?(levels, filter)
  defp below?(levels, filter), do: levels == filter
end

{options, []} = OptionParser.parse!(System.argv(), strict: [port: :integer])
{:ok, _} = Registry.start_link(keys: :duplicate, name: PubSub)
options = Keyword.merge([ip: {127, 0, 0, 1}, port: 1883, handler: {PubSub, []}], options)

{:ok, listener} = MQTT.Listener.start_link(options)
port = MQTT.Listener.info(listener).port
IO.puts("Listening on 127.0.0.1:#{port}. To publish:")
IO.puts("  mosquitto_pub -h 127.0.0.1 -p #{port} -t hello -m world")
Process.sleep(:infinity)
