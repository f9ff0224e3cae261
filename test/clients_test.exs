defmodule MQTT.ClientsTest do
  # Clients of other people: very many messages of QoS 0 through the server that `script/server`
  # starts, and then each QoS with each version through MQTT.Test.Relay.
  use ExUnit.Case, async: false
  @moduletag :clients

  alias MQTT.Test.{Clients, Program, Relay}

  @root Path.expand("..", __DIR__)
  @messages 10_000
  @relayed 1_000

  setup_all do
    command = {Path.join(@root, "script/server"), ["--port", "0"]}
    {server, port} = Program.start(command, ~r/Listening on 127.0.0.1:(\d+)/, 300_000)
    on_exit(fn -> Program.signal(server, "TERM") end)
    %{port: port, relay: Relay.start()}
  end

  test "mosquitto_pub and mosquitto_sub exchange #{@messages} messages in order", %{port: port} do
    # Line by line, because what goes into a pipe would be held back.
    arguments = ~w(-oL mosquitto_sub -h 127.0.0.1 -p #{port} -t clients/# -C #{@messages} -d)
    command = {System.find_executable("stdbuf"), arguments}
    {subscriber, _} = Program.start(command, ~r/(Subscribed)/)

    lines = Enum.map_join(1..@messages, &"message #{&1}\n")
    path = Path.join(System.tmp_dir!(), "mqtt-#{System.unique_integer([:positive])}")
    File.write!(path, lines)
    on_exit(fn -> File.rm(path) end)

    {"", 0} =
      System.cmd("sh", ["-c", "mosquitto_pub -h 127.0.0.1 -p #{port} -t clients/a -l < #{path}"])

    received =
      for line <- Program.lines(subscriber), not String.starts_with?(line, "Client "), do: line

    assert Enum.join(received, "\n") <> "\n" == lines
  end

  for version <- ["3.1", "3.1.1"] do
    test "paho-mqtt exchanges #{@messages} messages in order, with MQTT #{version}", %{port: port} do
      script = Path.join(@root, "test/support/paho_exchange.py")
      arguments = [script, port, unquote(version), "#{@messages}"]
      assert {output, 0} = System.cmd("/usr/bin/python3", arguments, stderr_to_stdout: true)
      assert output =~ "#{@messages} messages in order"
    end
  end

  for {client, name, versions} <- [
        {:mosquitto, "mosquitto_pub", ["3.1", "3.1.1", "5"]},
        {:paho, "paho-mqtt", ["3.1.1", "5"]},
        {:mqttjs, "MQTT.js", ["3.1.1", "5"]}
      ],
      version <- versions,
      qos <- 0..2 do
    @tag client: {client, version, qos}
    test "#{name} with MQTT #{version}: #{@relayed} messages of QoS #{qos} in order", context do
      exchange(context.client, context.client, context.relay)
    end
  end

  for {from, to} <- [
        {{:mosquitto, "5", 2}, {:paho, "3.1.1", 1}},
        {{:paho, "3.1.1", 1}, {:mqttjs, "5", 2}},
        {{:mqttjs, "5", 2}, {:mosquitto, "5", 1}},
        {{:mosquitto, "5", 1}, {:paho, "5", 0}}
      ] do
    @tag from: from, to: to
    test "#{@relayed} messages in order from #{inspect(from)} to #{inspect(to)}", context do
      exchange(context.from, context.to, context.relay)
    end
  end

  test "paho-mqtt with MQTT 3.1.1 is told what is refused", %{relay: port} do
    # MQTT_ERR_CONN_LOST
    assert answers(:paho, port, "3.1.1") ==
             ["CONNACK 5", "SUBACK 128", "UNSUBACK"] ++
               ["PUBACK 0", "PUBREC 0", "PUBCOMP 0", "DISCONNECT 7"]
  end

  test "paho-mqtt with MQTT 5 is told what is refused, and why", %{relay: port} do
    # It says PUBREL also when the message was refused: packet identifier not found.
    assert answers(:paho, port, "5") ==
             ["CONNACK 135 not for you", "SUBACK 135 not for you", "UNSUBACK 17"] ++
               ["PUBACK 135 not for you", "PUBREC 135 not for you", "PUBCOMP 146"] ++
               ["DISCONNECT 152 closing time"]
  end

  test "MQTT.js with MQTT 3.1.1 is told what is refused", %{relay: port} do
    assert answers(:mqttjs, port, "3.1.1") ==
             ["CONNACK 5", "SUBACK 128", "UNSUBACK", "PUBACK", "PUBREC", "PUBCOMP"]
  end

  test "MQTT.js with MQTT 5 is told what is refused, and why", %{relay: port} do
    assert answers(:mqttjs, port, "5") ==
             ["CONNACK 135 not for you", "SUBACK 135 not for you", "UNSUBACK 17"] ++
               ["PUBACK 135 not for you", "PUBREC 135 not for you"] ++
               ["DISCONNECT 152 closing time"]
  end

  test "mosquitto_pub, _sub and _rr with MQTT 3.1.1 are told what is refused", %{relay: port} do
    run = &run_mosquitto(&1, port, "3.1.1", &2, &3, &4)
    assert {5, said} = run.("pub", 0, "x", ~w(-m x -u forbidden))
    assert said =~ "received CONNACK (5)"
    assert {0, said} = run.("sub", 1, "forbidden/#", [])
    assert said =~ "Subscribed (mid: 1): 128"
    assert {0, said} = run.("pub", 1, "forbidden/x", ~w(-m x))
    assert said =~ "received PUBACK (Mid: 1, RC:0)"
    assert {0, said} = run.("pub", 2, "forbidden/x", ~w(-m x))
    assert said =~ "received PUBCOMP (Mid: 1, RC:0)"
    # MOSQ_ERR_CONN_LOST
    assert {7, _} = run.("rr", 0, "leave", ~w(-m x -e answer))
  end

  test "mosquitto_pub, _sub and _rr with MQTT 5 are told what is refused", %{relay: port} do
    run = &run_mosquitto(&1, port, "5", &2, &3, &4)
    assert {135, said} = run.("pub", 0, "x", ~w(-m x -u forbidden))
    assert said =~ "received CONNACK (135)"
    assert {0, said} = run.("sub", 1, "forbidden/#", [])
    assert said =~ "Subscribed (mid: 1): 135"
    assert {0, said} = run.("pub", 1, "forbidden/x", ~w(-m x))
    assert said =~ "Warning: Publish 1 failed: Not authorized.\nnot for you\n"
    assert {0, said} = run.("pub", 2, "forbidden/x", ~w(-m x))
    assert said =~ "Warning: Publish 1 failed: Not authorized."
    assert said =~ "received PUBREC (Mid: 1)"
    assert {0, said} = run.("pub", 1, "relay/nobody", ~w(-m x))
    assert said =~ "received PUBACK (Mid: 1, RC:16)"
    assert {0, said} = run.("rr", 0, "leave", ~w(-m x -e answer))
    assert said =~ "Received DISCONNECT (152)"
  end

  # From one client, its version and its QoS to another.
  defp exchange(from, to, port) do
    levels = "relay/#{System.unique_integer([:positive])}/"
    topic = levels <> "ä"

    subscribe = Clients.subscribe(to, port, levels <> "+", @relayed)
    {subscriber, _} = Program.start(subscribe, ~r/^(Subscribed)/)

    assert from |> Clients.publish(port, topic, @relayed) |> Program.open() |> Program.lines() ==
             []

    received = subscriber |> Program.lines() |> Clients.messages()
    expected = for n <- 1..@relayed, do: Clients.expected(from, to, topic, n)
    # Only where they begin to differ.
    assert Enum.find(Enum.zip(received, expected), fn {got, wanted} -> got != wanted end) == nil
    assert length(received) == @relayed
  end

  defp answers(client, port, version) do
    lines = client |> Clients.refusals(port, version) |> Program.open() |> Program.lines()
    for line <- lines, do: line |> String.replace("\t", " ") |> String.trim()
  end

  defp run_mosquitto(name, port, version, qos, topic, more) do
    {program, arguments} = Clients.debug("mosquitto_" <> name, port, version, qos, topic, more)
    {said, status} = System.cmd(program, arguments, stderr_to_stdout: true)
    {status, said}
  end
end
