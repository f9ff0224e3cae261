#!/usr/bin/env elixir
# Measures this library's server and that of `mqtt` 0.2.2, and prints a table. README.md says more.

defmodule Bench.Run do
  # Name, arguments of the load generator, and options: `flags` for the emulators of the servers,
  # and `qos_0` to name the workload that is the same at QoS 0, which is the only QoS of 0.2.2.
  @workloads [
    {"flood-64", ~w(flood --size 64), []},
    {"flood-64-qos-1", ~w(flood --size 64 --qos 1), qos_0: "flood-64"},
    {"flood-64-qos-2", ~w(flood --size 64 --qos 2), qos_0: "flood-64"},
    {"flood-64-out", ~w(flood-out --size 64), []},
    {"flood-64-out-qos-1", ~w(flood-out --size 64 --qos 1), qos_0: "flood-64-out"},
    {"flood-64-out-qos-2", ~w(flood-out --size 64 --qos 2), qos_0: "flood-64-out"},
    {"flood-1k", ~w(flood --size 1024), []},
    {"flood-64k", ~w(flood --size 65536), []},
    {"paced", ~w(paced), []},
    {"paced-no-busy-wait", ~w(paced), flags: "+sbwt none +sbwtdcpu none +sbwtdio none"},
    {"echo", ~w(echo), []},
    {"fan-out-1", ~w(fan-out --window 1), []},
    {"fan-out-32", ~w(fan-out --window 32), []}
  ]

  # Name, whose modules, arguments of server.exs. The first is what the others are compared with.
  @servers [
    {"this", :ours, ~w(gen_tcp)},
    {"this, MQTT.Listener", :ours, ~w(native)},
    {"0.2.2", :baseline, ~w(gen_tcp)},
    {"0.2.2, buffer: 65536", :baseline, ~w(gen_tcp --buffer 65536)},
    {"0.2.2, also nodelay: true", :baseline, ~w(gen_tcp --buffer 65536 --nodelay)}
  ]

  # So much of a core may be busy with something else, and so often is tried for less.
  @disturbed 0.15
  @tries 20

  @here __DIR__
  @root Path.expand("..", __DIR__)
  @switches [only: :string, seconds: :float, warm_up: :float, repeat: :integer]

  def main(arguments) do
    {options, []} = OptionParser.parse!(arguments, strict: @switches)
    options = Map.merge(%{seconds: 5.0, warm_up: 1.0, repeat: 3}, Map.new(options))
    workloads = workloads(options)

    temporary = Path.join(System.tmp_dir!(), "mqtt-bench-#{System.pid()}")
    File.mkdir_p!(temporary)

    try do
      run!("cargo", cargo("build"), [])
      modules = %{ours: compile_ours(), baseline: compile_baseline(temporary)}
      describe(options)
      Enum.reduce(workloads, %{}, &measure(&1, modules, options, &2))
    after
      File.rm_rf!(temporary)
    end
  end

  defp workloads(%{only: only}) do
    names = String.split(only, ",")
    known = Enum.map(@workloads, &elem(&1, 0))
    if names -- known != [], do: fail("The workloads are #{Enum.join(known, ", ")}.")
    Enum.filter(@workloads, &(elem(&1, 0) in names))
  end

  defp workloads(_options), do: @workloads

  ## Building

  defp compile_ours do
    build = System.get_env("MIX_BUILD_PATH", Path.join(@root, "_build/prod"))
    run!("mix", ["compile"], cd: @root, env: [{"MIX_ENV", "prod"}, {"MIX_BUILD_PATH", build}])
    Path.join(build, "lib/mqtt/ebin")
  end

  # In a virtual machine of its own, and without standard input, because Mix may ask.
  defp compile_baseline(directory) do
    script = ~s(exec elixir "$0" "$1" </dev/null)
    output = run!("sh", ["-c", script, Path.join(@here, "baseline.exs"), directory], [])
    output |> String.split("\n", trim: true) |> List.last()
  end

  defp cargo(command) do
    [command, "--release", "--quiet", "--manifest-path", Path.join(@here, "load/Cargo.toml")]
  end

  ## Measuring

  # One server after the other, and again, so that a machine that slows down slows all of them. Adds
  # the costs of a message to those of the workloads before.
  defp measure({name, load, workload}, modules, options, costs) do
    servers = servers(workload)
    flags = Keyword.get(workload, :flags, "")

    rounds =
      for _ <- 1..options.repeat do
        for {_, whose, arguments} <- servers do
          measure_cell(modules[whose], arguments, flags, load, options, @tries)
        end
      end

    cells = servers |> Enum.map(&elem(&1, 0)) |> Enum.zip(Enum.zip_with(rounds, & &1))
    print_rows(name, cells, costs[workload[:qos_0]])
    Map.put(costs, name, Map.new(cells, fn {server, cell} -> {server, median(cell, "cost")} end))
  end

  defp servers(workload) do
    if workload[:qos_0], do: Enum.filter(@servers, &match?({_, :ours, _}, &1)), else: @servers
  end

  # Again, if something else was at work on the machine.
  defp measure_cell(modules, arguments, flags, load, options, tries) do
    server = start_server(modules, arguments, flags)

    cell =
      try do
        load(server, load, options)
      after
        stop_server(server)
      end

    if tries > 1 and cell["others"] > @disturbed do
      IO.puts(:stderr, "Something else took #{number(cell["others"])} of a core; once again.")
      measure_cell(modules, arguments, flags, load, options, tries - 1)
    else
      cell
    end
  end

  defp start_server(modules, arguments, flags) do
    flags = String.trim("#{erl_flags()} #{flags}")
    script = ["-pa", modules, Path.join(@here, "server.exs") | arguments]
    arguments = if flags == "", do: script, else: ["--erl", flags | script]
    elixir = System.find_executable("elixir")
    server = Port.open({:spawn_executable, elixir}, [:binary, :exit_status, args: arguments])

    receive do
      {^server, {:data, line}} ->
        [port, pid] = String.split(line)
        %{server: server, port: port, pid: pid}

      {^server, {:exit_status, status}} ->
        fail("A server ended with status #{status} before it listened.")
    end
  end

  defp stop_server(%{server: server, pid: pid}) do
    run!("kill", ["-KILL", pid], [])
    receive do: ({^server, {:exit_status, _}} -> :ok)
  end

  defp load(server, load, options) do
    interval = ["--seconds", "#{options.seconds}", "--warm-up", "#{options.warm_up}"]
    arguments = ["--port", server.port, "--pid", server.pid] ++ interval ++ load
    output = run!("cargo", cargo("run") ++ ["--"] ++ arguments, [])

    values =
      for pair <- String.split(output), into: %{} do
        [name, value] = String.split(pair, "=")
        {number, ""} = Float.parse(value)
        {name, number}
      end

    Map.merge(values, %{
      "rate" => values["messages"] / values["seconds"],
      "others" => values["others_cpu_seconds"] / values["seconds"],
      "cost" => values["cpu_seconds"] / values["messages"] * 1.0e6
    })
  end

  ## Printing

  defp describe(options) do
    IO.puts("""
    OTP #{System.otp_release()}, Elixir #{System.version()}, \
    #{System.schedulers_online()} schedulers, emulator flags "#{erl_flags()}".
    #{options.repeat} times #{options.seconds} s a cell: the median, and for CPU the lowest and the highest.

    | Workload | Server | Messages/s | CPU µs/message | CPU against this | CPU against QoS 0 | RSS MiB | Latency µs, p50 / p99 / p99.9 / max |
    | --- | --- | ---: | ---: | ---: | ---: | ---: | ---: |\
    """)
  end

  defp print_rows(workload, [{_, ours} | _] = cells, at_qos_0) do
    for {server, cell} <- cells do
      {lowest, highest} = cell |> Enum.map(& &1["cost"]) |> Enum.min_max()
      cost = median(cell, "cost")

      columns = [
        workload,
        server,
        round(median(cell, "rate")),
        "#{number(cost)} (#{number(lowest)}–#{number(highest)})",
        "#{number(cost / median(ours, "cost"))} ×",
        at_qos_0 && "#{number(cost / at_qos_0[server])} ×",
        round(median(cell, "resident") / 1024 / 1024),
        latency(cell)
      ]

      IO.puts("| #{Enum.join(columns, " | ")} |")
    end
  end

  defp latency([%{"p50" => _} | _] = cell) do
    Enum.map_join(~w(p50 p99 p999 max), " / ", &round(median(cell, &1) * 1.0e6))
  end

  defp latency(_cell), do: ""

  defp median(cell, name) do
    cell |> Enum.map(& &1[name]) |> Enum.sort() |> Enum.at(div(length(cell), 2))
  end

  # Three digits.
  defp number(value) when value >= 100, do: "#{round(value)}"
  defp number(value) when value >= 10, do: :erlang.float_to_binary(value, decimals: 1)
  defp number(value) when value >= 1, do: :erlang.float_to_binary(value, decimals: 2)
  defp number(value), do: :erlang.float_to_binary(value, decimals: 3)

  ## Other programs

  defp erl_flags, do: System.get_env("BENCH_ERL_FLAGS", "")

  defp run!(command, arguments, options) do
    case System.cmd(command, arguments, options) do
      {output, 0} -> output
      {output, _} -> fail("#{output}#{command} failed.")
    end
  end

  defp fail(message) do
    IO.puts(:stderr, message)
    System.halt(1)
  end
end

Bench.Run.main(System.argv())
