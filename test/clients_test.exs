defmodule MQTT.ClientsTest do
  # Clients of other people, through the server that `script/server` starts.
  use ExUnit.Case, async: false
  @moduletag :clients

  @root Path.expand("..", __DIR__)
  @messages 10_000

  setup_all do
    command = Path.join(@root, "script/server")
    {server, port} = start(command, ["--port", "0"], ~r/Listening on 127.0.0.1:(\d+)/, 300_000)
    {:os_pid, pid} = Port.info(server, :os_pid)
    on_exit(fn -> System.cmd("kill", ["#{pid}"]) end)
    %{port: port}
  end

  test "mosquitto_pub and mosquitto_sub exchange #{@messages} messages in order", %{port: port} do
    # Line by line, because what goes into a pipe would be held back.
    arguments = ~w(-oL mosquitto_sub -h 127.0.0.1 -p #{port} -t clients/# -C #{@messages} -d)
    {subscriber, _} = start(System.find_executable("stdbuf"), arguments, ~r/(Subscribed)/)

    lines = Enum.map_join(1..@messages, &"message #{&1}\n")
    path = Path.join(System.tmp_dir!(), "mqtt-#{System.unique_integer([:positive])}")
    File.write!(path, lines)
    on_exit(fn -> File.rm(path) end)

    {"", 0} =
      System.cmd("sh", ["-c", "mosquitto_pub -h 127.0.0.1 -p #{port} -t clients/a -l < #{path}"])

    received =
      for line <- lines_until_exit(subscriber), not String.starts_with?(line, "Client "), do: line

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

  # A program whose output has a line that matches, and what the pattern caught in it.
  defp start(command, arguments, pattern, timeout \\ 10_000) do
    options = [:binary, :exit_status, :stderr_to_stdout, line: 1_000, args: arguments]
    port = Port.open({:spawn_executable, command}, options)
    {port, await(port, pattern, timeout)}
  end

  defp await(port, pattern, timeout) do
    receive do
      {^port, {:data, {:eol, line}}} ->
        case Regex.run(pattern, line) do
          [_, caught] -> caught
          nil -> await(port, pattern, timeout)
        end

      {^port, {:exit_status, status}} ->
        flunk("ended with #{status} before it said #{inspect(pattern)}")
    after
      timeout -> flunk("nothing like #{inspect(pattern)} within #{timeout} ms")
    end
  end

  defp lines_until_exit(port) do
    receive do
      {^port, {:data, {:eol, line}}} -> [line | lines_until_exit(port)]
      {^port, {:exit_status, 0}} -> []
      {^port, {:exit_status, status}} -> flunk("ended with #{status}")
    after
      30_000 -> flunk("did not end")
    end
  end
end
