defmodule MQTT.ExamplesTest do
  use ExUnit.Case, async: false
  @moduletag :clients

  @root Path.expand("..", __DIR__)

  setup do
    options = [:binary, :exit_status, :stderr_to_stdout, line: 1_000, cd: @root]
    args = ["run", "examples/sessions.exs", "--port", "0"]
    mix = System.find_executable("mix")
    server = Port.open({:spawn_executable, mix}, [{:args, args} | options])
    {:os_pid, pid} = Port.info(server, :os_pid)
    on_exit(fn -> System.cmd("kill", ["#{pid}"]) end)
    %{port: port_of(server)}
  end

  test "examples/sessions.exs keeps messages for a client that is away", %{port: port} do
    for version <- ["mqttv311", "mqttv5"] do
      me = ~w(-h 127.0.0.1 -p #{port} -V #{version} -i me-#{version} -c -q 2 -t hello/#)
      me = if version == "mqttv5", do: me ++ ~w(-x 60), else: me
      assert {_, 0} = System.cmd("mosquitto_sub", me ++ ["-E"])

      for n <- 1..3 do
        message = ~w(-h 127.0.0.1 -p #{port} -q 2 -t hello/you -m #{n})
        assert {"", 0} = System.cmd("mosquitto_pub", message)
      end

      assert {"1\n2\n3\n", 0} = System.cmd("mosquitto_sub", me ++ ~w(-C 3 -W 30))
    end
  end

  test "examples/sessions.exs ends a session when its client has been away for long enough, and not before",
       %{port: port} do
    me = ~w(-h 127.0.0.1 -p #{port} -V mqttv5 -i me -c -q 1 -t hello/#)

    come_and_go = fn expiry ->
      {_, 0} = System.cmd("mosquitto_sub", me ++ ["-x", "#{expiry}", "-E"])
    end

    publish = fn ->
      {"", 0} = System.cmd("mosquitto_pub", ~w(-h 127.0.0.1 -p #{port} -q 1 -t hello -m x))
    end

    come_and_go.(1)
    come_and_go.(60)
    # What the first end of its connection has started is over by then.
    receive after: (1_500 -> :ok)
    publish.()
    assert {"x\n", 0} = System.cmd("mosquitto_sub", me ++ ~w(-x 1 -C 1 -W 30))
    receive after: (1_500 -> :ok)
    publish.()
    assert {_, 27} = System.cmd("mosquitto_sub", me ++ ~w(-x 1 -C 1 -W 1), stderr_to_stdout: true)
  end

  defp port_of(server) do
    receive do
      {^server, {:data, {:eol, line}}} ->
        case Regex.run(~r/Listening on 127.0.0.1:(\d+)/, line) do
          [_, port] -> port
          nil -> port_of(server)
        end
    after
      60_000 -> flunk("it does not listen")
    end
  end
end
