defmodule MQTT.Interop.RequestTest do
  # Response topic and correlation data as they are meant: mosquitto_rr asks, others answer.
  use ExUnit.Case, async: false
  @moduletag :clients

  import MQTT.Test.Brokers
  alias MQTT.Test.{Clients, Program}

  for client <- [:paho, :mqttjs], qos <- 0..2 do
    @tag client: {client, "5", qos}
    test "#{client} answers a request of mosquitto_rr at QoS #{qos}", %{client: client} do
      {_, port} = broker()
      answer = Clients.answer(client, port, "requests/+", 1)
      {answering, _} = Program.start(answer, ~r/^(Subscribed)/)
      {_, _, qos} = client

      arguments =
        ~w(-h 127.0.0.1 -p #{port} -V mqttv5 -q #{qos} -t requests/ä -e answers/ü -m question) ++
          ~w(-W 20 -D publish correlation-data 4711 -F) ++ ["%t %q %p %D"]

      assert System.cmd("mosquitto_rr", arguments) ==
               {"answers/ü #{qos} answer to question 4711\n", 0}

      assert Program.lines(answering) == []
    end
  end
end
