#!/usr/bin/env elixir
# Measures this library's server, that of `mqtt` 0.2.2 and, where they are installed, two brokers, and
# prints a table. README.md says more.

for name <- ~w(command workloads servers build cell table) do
  Code.require_file("run/#{name}.exs", __DIR__)
end

defmodule Bench.Run do
  alias Bench.{Build, Cell, Servers, Table, Workloads}

  @switches [
    only: :string,
    servers: :string,
    seconds: :float,
    warm_up: :float,
    repeat: :integer,
    quick: :boolean
  ]

  @defaults %{
    quick: false,
    only: nil,
    servers: nil,
    seconds: 3.0,
    warm_up: 1.0,
    repeat: 3,
    tries: 5
  }
  # With little time, the most telling servers.
  @quick %{@defaults | servers: "this,buffer", seconds: 0.5, warm_up: 0.2, repeat: 1, tries: 1}

  def main(arguments) do
    {options, []} = OptionParser.parse!(arguments, strict: @switches)
    options = Map.merge(if(options[:quick], do: @quick, else: @defaults), Map.new(options))
    options = %{options | servers: chosen(options.servers)}
    workloads = Workloads.all(options)
    servers = used(workloads, options)

    directory = Path.join(System.tmp_dir!(), "mqtt-bench-#{System.pid()}")
    File.mkdir_p!(directory)

    try do
      {load, modules} = Build.all(servers, directory)
      setup = %{load: load, modules: modules, directory: directory}
      Table.describe(servers, options)
      cells = Enum.reduce(workloads, %{}, &measure(&1, setup, options, &2))
      if failed?(cells), do: System.at_exit(fn _ -> System.halt(1) end)
    after
      File.rm_rf!(directory)
    end
  end

  defp chosen(nil), do: Servers.keys()

  defp chosen(names) do
    for name <- String.split(names, ",") do
      Enum.find(Servers.keys(), &("#{&1}" == name)) ||
        raise "The servers are #{Enum.join(Servers.keys(), ", ")}."
    end
  end

  defp used(workloads, options) do
    workloads
    |> Enum.flat_map(fn {_, _, row} -> Workloads.servers(row, options.servers) end)
    |> Servers.installed()
  end

  # One server after the other, and again, so that a machine that slows down slows all of them. Adds
  # what was measured to that of the workloads before.
  defp measure({name, _, row} = workload, setup, options, before) do
    servers = row |> Workloads.servers(options.servers) |> Servers.installed()

    rounds =
      for round <- 1..options.repeat do
        for {_, server, _, _, _} = entry <- servers do
          IO.puts(:stderr, "#{name}, #{server}, #{round} of #{options.repeat}")
          Cell.measure(entry, workload, setup, options)
        end
      end

    cells = servers |> Enum.map(&elem(&1, 1)) |> Enum.zip(Enum.zip_with(rounds, & &1))
    Table.rows(name, cells, Map.get(before, row[:qos_0], %{}))
    Map.put(before, name, Map.new(cells))
  end

  defp failed?(cells) do
    Enum.any?(cells, fn {_, servers} ->
      Enum.any?(servers, fn {_, cell} -> :failed in cell end)
    end)
  end
end

Bench.Run.main(System.argv())
