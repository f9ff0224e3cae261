defmodule MQTT.Interop.SysTest do
  use ExUnit.Case, async: false
  @moduletag :clients

  import MQTT.Test.Brokers
  alias MQTT.Broker

  @topics ~w(clients/connected clients/disconnected clients/total publish/messages/received) ++
            ["publish/messages/sent", "retained messages/count", "store/messages/bytes"] ++
            ~w(subscriptions/count uptime version)

  test "mosquitto_sub reads what the broker says of itself" do
    {name, port} = broker(sys_interval: 3_600_000)
    count = length(@topics)
    eventually(fn -> Broker.stats(name).retained == count end)
    lines = mosquitto_sub(port, ["-t", "$SYS/broker/#", "-C", count])
    found = for line <- lines, do: String.split(line, "\t")
    topics = for ["$SYS/broker/" <> topic, _, _] <- found, do: topic
    assert Enum.sort(topics) == @topics
    for [_, retain, _] <- found, do: assert(retain == "1")
    values = for ["$SYS/broker/" <> topic, _, value] <- found, into: %{}, do: {topic, value}
    assert values["version"] =~ ~r/\Amqtt version \d/
    assert values["uptime"] =~ ~r/\A\d+ seconds\z/

    for {topic, value} <- values,
        topic not in ["version", "uptime"],
        do: assert(value =~ ~r/\A\d+\z/)
  end

  test "mosquitto_sub is told again and again, and # does not mean it" do
    {name, port} = broker(sys_interval: 20)
    arguments = ["-t", "#", "-t", "$SYS/broker/clients/connected", "-R", "-C", 3]
    lines = mosquitto_sub(port, arguments)
    assert lines == List.duplicate("$SYS/broker/clients/connected\t0\t1", 3)
    gone(name, "reader")
    Broker.publish(name, "seen", "by all", %{retain: true})
    assert mosquitto_sub(port, ["-t", "#", "-C", 1]) == ["seen\t1\tby all"]
  end

  defp mosquitto_sub(port, more) do
    arguments = ["-h", "127.0.0.1", "-p", port, "-i", "reader", "-W", 20] ++ more
    arguments = Enum.map(arguments ++ ["-F", "%t\t%r\t%p"], &to_string/1)
    {said, 0} = System.cmd("mosquitto_sub", arguments)
    String.split(said, "\n", trim: true)
  end
end
