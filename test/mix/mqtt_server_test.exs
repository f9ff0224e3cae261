defmodule Mix.Tasks.Mqtt.ServerTest do
  use ExUnit.Case, async: false

  import MQTT.Test.Brokers, only: [eventually: 1]
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]
  alias Mix.Tasks.Mqtt.Server
  alias MQTT.Test.{Program, V4, V5}

  # It may have to start beside others.
  @soon 60_000

  defp command(arguments),
    do: {System.find_executable("mix"), ["mqtt.server" | arguments]}

  defp start(arguments) do
    {program, address} = Program.start(command(arguments), ~r/^Listening on (\S+:\d+)\. /, @soon)
    on_exit(fn -> System.cmd("kill", ["#{program.os_pid}"], stderr_to_stdout: true) end)
    [ip, port] = String.split(address, ":")
    {program, ip, port}
  end

  # Erlang's own handler of signals, which comes after ours, may log something until all has stopped.
  defp said_until_exit(program) do
    for line <- Program.lines(program), line != "", not (line =~ "SIGTERM received"), do: line
  end

  @tag :clients
  test "says where it listens, serves, and tells its clients when it is terminated" do
    {program, "127.0.0.1", port} = start(["--port", "0"])
    example = Program.await(program, ~r/^  (mosquitto_pub .*)$/)
    assert example == "mosquitto_pub -h 127.0.0.1 -p #{port} -t hello -m world"

    number = String.to_integer(port)
    client = V5.subscribed(V5.connected(number, "client"), [{"hello", 0}])
    old = V4.connected(number, "old")
    ["mosquitto_pub" | arguments] = String.split(example)
    assert {"", 0} = System.cmd("mosquitto_pub", arguments)
    assert recv(client) == V5.publish("hello", "world")

    before = System.monotonic_time(:second)
    Program.signal(program, "TERM")
    V5.assert_ended(client, [0x8B])
    assert_closed(old)
    assert said_until_exit(program) == []
    assert System.monotonic_time(:second) - before < 10
  end

  @tag :clients
  test "listens where it is told to" do
    {program, "127.0.0.2", port} = start(["--ip", "127.0.0.2", "--port", "0", "--anonymous"])
    assert {"", 0} = System.cmd("mosquitto_pub", ~w(-h 127.0.0.2 -p #{port} -t hello -m world))
    Program.signal(program, "TERM")
    assert ["  mosquitto_pub -h 127.0.0.2 " <> _] = said_until_exit(program)
  end

  @tag :clients
  test "says how to publish where a password is needed, and who is let in" do
    path = Path.join(System.tmp_dir!(), "passwords-#{System.unique_integer([:positive])}")
    on_exit(fn -> File.rm(path) end)
    :ok = MQTT.Broker.Passwords.create(path, "roger", "secret", iterations: 101)
    {program, _ip, port} = start(["--port", "0", "--users", path])
    example = Program.await(program, ~r/^  mosquitto_pub (.*)$/)
    arguments = example |> String.replace("USER", "roger") |> String.replace("PASSWORD", "secret")
    assert arguments =~ port
    assert {"", 0} = System.cmd("mosquitto_pub", String.split(arguments))

    # Its files are read again when it is told so.
    other = arguments |> String.replace("roger", "anna") |> String.split()
    assert {_, 4} = System.cmd("mosquitto_pub", other, stderr_to_stdout: true)
    :ok = MQTT.Broker.Passwords.put(path, "anna", "secret", iterations: 101)
    Program.signal(program, "HUP")
    eventually(fn -> {"", 0} == System.cmd("mosquitto_pub", other, stderr_to_stdout: true) end)
    File.write!(path, "nobody")
    Program.signal(program, "HUP")
    assert Program.await(program, ~r/^Nothing was read again: (.*passwords.*)$/)
    Program.signal(program, "TERM")
    assert said_until_exit(program) == []
    {program, _ip, _port} = start(["--port", "0", "--ip", "0.0.0.0"])
    assert Program.await(program, ~r/^(Only clients of this machine) /)
    Program.signal(program, "TERM")
    assert said_until_exit(program) == []
  end

  test "goes on after a crash" do
    port = free_port()
    directory = System.tmp_dir!()
    [config, crash] = for name <- ~w(config crash), do: Path.join(directory, "#{name}-#{port}")
    on_exit(fn -> Enum.each([config, crash], &File.rm/1) end)

    # It crashes once there is that file.
    File.write!(config, """
    spawn(fn ->
      wait = fn wait -> File.exists?("#{crash}") || (Process.sleep(10) && wait.(wait)) end
      wait.(wait)
      Process.exit(MQTT.Broker.Context.get!(MQTT.Broker).sessions, :kill)
    end)

    [port: #{port}]
    """)

    {program, _, _} = start(["--config", config])
    client = V5.connected(port, "client")
    File.write!(crash, "")
    V5.assert_ended(client, [0x8B])

    eventually(fn ->
      match?({:ok, _}, :gen_tcp.connect({127, 0, 0, 1}, port, [:binary, active: false]))
    end)

    V5.connected(port, "client")
    Program.signal(program, "TERM")
    _ = Program.lines(program)
  end

  test "goes on in a shell" do
    command = {System.find_executable("iex"), ~w(-S mix mqtt.server --port 0)}
    {program, address} = Program.start(command, ~r/^Listening on (\S+:\d+)\. /, @soon)
    on_exit(fn -> System.cmd("kill", ["-KILL", "#{program.os_pid}"], stderr_to_stdout: true) end)
    # What the shell is asked comes behind the task, whose process has ended then.
    Port.command(
      program.port,
      "IO.puts(\"\\nlistens \#{length MQTT.Broker.listeners(MQTT.Broker)}\")\n"
    )

    assert Program.await(program, ~r/^listens (1)$/, @soon)
    [_, port] = String.split(address, ":")
    V5.connected(String.to_integer(port), "client")
    Program.signal(program, "TERM")
    _ = Program.lines(program)
  end

  test "says what its options are" do
    Mix.shell(Mix.Shell.Process)
    on_exit(fn -> Mix.shell(Mix.Shell.IO) end)
    Server.run(["--help"])
    assert_received {:mix_shell, :info, [help]}

    for option <- ~w(port ip users acl config anonymous), do: assert(help =~ "`--#{option}")
  end

  test "says in one sentence what it cannot do" do
    for {arguments, sentence} <- [
          {["extra"], "mqtt.server takes no argument, got: extra"},
          {["--prot", "1883"], "mqtt.server has no option --prot"},
          {["--port"], "mqtt.server needs a value for --port"},
          {["--port", "x"], "mqtt.server cannot take x for --port"},
          {["--port", "65536"],
           "option :port of MQTT.Broker must be an integer from 0 to 65535, got: 65536"},
          {["--ip", "localhost"], "--ip takes an address such as 0.0.0.0, got: localhost"},
          {["--users", "/nowhere/passwords", "--port", "0"],
           "The broker cannot start: /nowhere/passwords: no such file or directory"}
        ] do
      assert_raise Mix.Error, sentence, fn -> Server.run(arguments) end
    end
  end

  @tag :clients
  test "ends with an error where the address is in use, and with a wrong option" do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)

    for {arguments, sentence} <- [
          {["--port", "#{port}"], "The broker cannot start: address already in use"},
          {["--port", "x"], "mqtt.server cannot take x for --port"}
        ] do
      program = Program.open(command(arguments))
      assert Program.lines(program, 1) == ["** (Mix) " <> sentence]
    end
  end
end
