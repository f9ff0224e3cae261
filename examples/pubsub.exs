# A broker for QoS 0 in one file. Each filter of a client is an entry of a Registry under the number
# of its levels; a publisher sends its message to every process whose filter matches.

defmodule PubSub do
  use MQTT.Server

  @impl true
  def init(_args, params), do: {:ok, params.client_id}

  @impl true
  def handle_publish(topic, message, _opts, client) do
    levels = String.split(topic, "/")

    Registry.dispatch(__MODULE__, :filters, fn entries ->
      # A client with several matching filters gets the message once.
      for pid <- Enum.uniq(for {pid, filter} <- entries, matches?(levels, filter), do: pid) do
        send(pid, {:message, topic, message})
      end
    end)

    {:ok, client}
  end

  @impl true
  def handle_subscribe(filter, _qos, client) do
    {:ok, _state} = handle_unsubscribe(filter, client)
    {:ok, _} = Registry.register(__MODULE__, :filters, String.split(filter, "/"))
    {:ok, 0, client}
  end

  @impl true
  def handle_unsubscribe(filter, client) do
    Registry.unregister_match(__MODULE__, :filters, String.split(filter, "/"))
    {:ok, client}
  end

  @impl true
  def handle_info({:message, topic, message}, client) do
    {:ok, client, {:publish, topic, message}}
  end

  # Wildcards do not match the first level of $SYS and its like [MQTT-4.7.2-1].
  defp matches?(["$" <> _ | _], [wildcard | _]) when wildcard in ["+", "#"], do: false
  defp matches?(levels, filter), do: same?(levels, filter)

  defp same?(_levels, ["#"]), do: true
  defp same?([_ | levels], ["+" | filter]), do: same?(levels, filter)
  defp same?([level | levels], [level | filter]), do: same?(levels, filter)
  defp same?(levels, filter), do: levels == filter
end

{options, _, _} = OptionParser.parse(System.argv(), strict: [port: :integer])
{:ok, _} = Registry.start_link(keys: :duplicate, name: PubSub)
options = [ip: {127, 0, 0, 1}, port: 1883, handler: {PubSub, []}] |> Keyword.merge(options)
{:ok, listener} = MQTT.Listener.start_link(options)
port = MQTT.Listener.info(listener).port
IO.puts("Listening on 127.0.0.1:#{port}. To publish:")
IO.puts("  mosquitto_pub -h 127.0.0.1 -p #{port} -t hello -m world")
Process.sleep(:infinity)
