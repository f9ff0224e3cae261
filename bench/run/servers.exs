defmodule Bench.Servers do
  @moduledoc false
  # Starts and stops what is measured.

  alias Bench.Command

  # Key, name, what runs it, its arguments, and its settings in words. The first is what the others are
  # compared with. A program is left out where it is not installed.
  @servers [
    {:this, "this", :ours, ~w(gen_tcp),
     "sockets of `:gen_tcp` with its defaults, given to `MQTT.Server.enter_loop/3`"},
    {:listener, "this, MQTT.Listener", :ours, ~w(native), "defaults"},
    {:baseline, "0.2.2", :baseline, ~w(gen_tcp), "sockets of `:gen_tcp` with its defaults"},
    {:buffer, "0.2.2, buffer: 65536", :baseline, ~w(gen_tcp --buffer 65536),
     "with `buffer: 65536`"},
    {:nodelay, "0.2.2, also nodelay: true", :baseline, ~w(gen_tcp --buffer 65536 --nodelay),
     "with `buffer: 65536, nodelay: true`"},
    {:broker, "this, MQTT.Broker", :ours, ~w(broker), "defaults, without `$SYS`"},
    {:mosquitto, "mosquitto", :program, ["mosquitto", "-c"],
     "`set_tcp_nodelay true`, no limit of queued and inflight messages, no persistence, no log"},
    {:mosquitto_nagle, "mosquitto, Nagle", :program, ["mosquitto", "-c"],
     "the same without `set_tcp_nodelay`, as is its default"},
    {:rumqttd, "rumqttd", :program, ["rumqttd", "--quiet", "--config"],
     "one listener of MQTT 3.1.1 that accepts without a delay, up to 16,384 connections, payloads up to 1 MiB, 1,000 messages inflight; otherwise its default configuration"}
  ]

  # Milliseconds for a program to listen, and between two looks.
  @patience 5_000
  @look 20
  @longest_line 1_000

  @doc "The keys of all."
  def keys, do: Enum.map(@servers, &elem(&1, 0))

  @doc "Those that are installed, of these keys."
  def installed(keys) do
    for {key, _, runner, [program | _], _} = server <- @servers,
        key in keys,
        runner != :program or System.find_executable(program),
        do: server
  end

  @doc "Starts it with these flags for its emulator, and with the handler if it is ours."
  def start({key, _, :program, [program | arguments], _}, directory, _modules, _options) do
    port = free_port()
    configuration = Path.join(directory, "#{key}.toml")
    File.write!(configuration, configuration(key, port))
    server = open(program, arguments ++ [configuration])
    {:os_pid, pid} = Port.info(server, :os_pid)
    await(port, server, @patience)
    %{server: server, port: port, pid: pid, flags: ["--broker"]}
  end

  def start({key, _, whose, arguments, _}, _directory, modules, options) do
    flags = String.trim("#{Command.erl_flags()} #{options[:flags]}")
    handler = if options[:handler], do: ["--handler", options[:handler]], else: []

    script =
      ["-pa", modules[whose], Path.expand("../server.exs", __DIR__)] ++ arguments ++ handler

    server = open("elixir", if(flags == "", do: script, else: ["--erl", flags | script]))

    [port, pid] = await_line(server)
    %{server: server, port: port, pid: pid, flags: if(key == :broker, do: ["--broker"], else: [])}
  end

  # Whatever else it says is told.
  defp await_line(server) do
    receive do
      {^server, {:data, {_, line}}} ->
        case Regex.run(~r/^(\d+) (\d+)$/, line, capture: :all_but_first) do
          nil ->
            IO.puts(:stderr, line)
            await_line(server)

          numbers ->
            Enum.map(numbers, &String.to_integer/1)
        end

      {^server, {:exit_status, status}} ->
        raise "A server ended with status #{status} before it listened."
    end
  end

  def stop(%{server: server, pid: pid}) do
    Command.run!("kill", ["-KILL", "#{pid}"])
    receive do: ({^server, {:exit_status, _}} -> flush(server))
  end

  defp flush(server) do
    receive do
      {^server, _} -> flush(server)
    after
      0 -> :ok
    end
  end

  # With as many open files as the system allows.
  defp open(program, arguments) do
    script = ~s|ulimit -n "$(ulimit -Hn)"; exec "$0" "$@"|
    arguments = ["-c", script, System.find_executable(program) | arguments]

    Port.open({:spawn_executable, "/bin/sh"}, [
      :binary,
      :exit_status,
      line: @longest_line,
      args: arguments
    ])
  end

  defp free_port do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1}, reuseaddr: true)
    {:ok, port} = :inet.port(socket)
    :gen_tcp.close(socket)
    port
  end

  defp await(port, server, left) do
    case :gen_tcp.connect({127, 0, 0, 1}, port, []) do
      {:ok, socket} ->
        :gen_tcp.close(socket)

      {:error, _} when left > 0 ->
        Process.sleep(@look)
        await(port, server, left - @look)

      {:error, reason} ->
        Port.close(server)
        raise "A server does not listen: #{reason}."
    end
  end

  defp configuration(:mosquitto, port),
    do: configuration(:mosquitto_nagle, port) <> "set_tcp_nodelay true\n"

  defp configuration(:mosquitto_nagle, port) do
    """
    listener #{port} 127.0.0.1
    allow_anonymous true
    persistence false
    max_queued_messages 0
    max_inflight_messages 0
    log_type none
    """
  end

  defp configuration(:rumqttd, port) do
    """
    id = 0

    [router]
    id = 0
    max_connections = 16384
    max_outgoing_packet_count = 200
    max_segment_size = 104857600
    max_segment_count = 10

    [v4.1]
    name = "v4-1"
    listen = "127.0.0.1:#{port}"
    next_connection_delay_ms = 0

    [v4.1.connections]
    connection_timeout_ms = 60000
    max_payload_size = 1048576
    max_inflight_count = 1000
    """
  end
end
