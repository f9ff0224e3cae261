defmodule Bench.Workloads do
  @moduledoc false
  # Name, arguments of the load generator, and options: `servers` if not all but those that differ by Nagle's algorithm, `flags` for
  # the emulators, `handler` for the servers of this library, `qos_0` to name the workload that is the
  # same at QoS 0, and `quick` for further arguments when there is little time, or `:never`.

  @ours [:this, :listener]
  @elixir @ours ++ [:baseline, :buffer]
  @brokers [:broker, :mosquitto, :rumqttd]
  @servers @elixir ++ @brokers
  # Where Nagle's algorithm makes a difference.
  @nagle @elixir ++ [:nodelay, :broker, :mosquitto, :mosquitto_nagle, :rumqttd]
  # And of the brokers these.
  @quiet @elixir ++ [:broker]
  @no_busy_wait "+sbwt none +sbwtdcpu none +sbwtdio none"

  @workloads [
    {"flood-64", ~w(flood), []},
    {"flood-64-qos-1", ~w(flood --qos 1), servers: @ours ++ @brokers, qos_0: "flood-64"},
    {"flood-64-qos-2", ~w(flood --qos 2), servers: @ours ++ @brokers, qos_0: "flood-64"},
    {"flood-64-out", ~w(flood-out), servers: @elixir},
    {"flood-64-out-qos-1", ~w(flood-out --qos 1), servers: @ours, qos_0: "flood-64-out"},
    {"flood-64-out-qos-2", ~w(flood-out --qos 2), servers: @ours, qos_0: "flood-64-out"},
    {"flood-64-100", ~w(flood --connections 100), quick: :never},
    {"flood-64-topics", ~w(flood --topics 100), quick: :never},
    {"flood-1k", ~w(flood --size 1024), []},
    {"flood-64k", ~w(flood --size 65536 --connections 4), []},
    {"echo", ~w(echo), []},
    {"echo-50", ~w(echo --connections 50), []},
    {"paced-5k", ~w(paced --rate 5000), servers: @nagle, quick: :never},
    {"paced-5k-no-busy-wait", ~w(paced --rate 5000),
     servers: @quiet, flags: @no_busy_wait, quick: :never},
    {"paced-20k", ~w(paced --rate 20000), servers: @nagle},
    {"paced-20k-no-busy-wait", ~w(paced --rate 20000), servers: @quiet, flags: @no_busy_wait},
    {"pairs", ~w(pairs), servers: @nagle},
    {"pairs-qos-1", ~w(pairs --qos 1), servers: @brokers, qos_0: "pairs", quick: :never},
    # The clients speak MQTT 5.0, and rumqttd listens for MQTT 3.1.1.
    {"shared-10", ~w(shared --members 10), servers: [:broker, :mosquitto], quick: :never},
    {"fan-out-100-one", ~w(fan-out --window 1), []},
    {"fan-out-100", ~w(fan-out --window 32), servers: @nagle},
    {"fan-out-1000", ~w(fan-out --window 32 --subscribers 1000), servers: @nagle},
    {"fan-out-100-native", ~w(fan-out --window 32), servers: @ours, handler: "native"},
    {"fan-out-1000-native", ~w(fan-out --window 32 --subscribers 1000),
     servers: @ours, handler: "native"},
    {"mixed", ~w(mixed), quick: ~w(--calm 0.5)},
    # rumqttd gives a subscriber as many retained messages as it may have outgoing packets, and no more.
    {"retained-100k", ~w(retained --count 100000), servers: [:broker, :mosquitto], quick: :never},
    {"connect", ~w(connect), []},
    {"idle", ~w(idle), quick: ~w(--wait 3)},
    {"churn", ~w(churn),
     servers: @elixir ++ [:broker, :mosquitto], quick: ~w(--early 2000 --connections 10000)}
  ]

  @doc "All that there is time for, or those of these names."
  def all(%{only: nil, quick: quick}) do
    Enum.reject(@workloads, fn {_, _, options} -> quick and options[:quick] == :never end)
  end

  def all(%{only: names}) do
    names = String.split(names, ",")
    known = Enum.map(@workloads, &elem(&1, 0))
    if names -- known != [], do: raise("The workloads are #{Enum.join(known, ", ")}.")
    Enum.filter(@workloads, &(elem(&1, 0) in names))
  end

  @doc "The keys of the servers that a workload is for, and `chosen`."
  def servers(workload, chosen) do
    workload |> Keyword.get(:servers, @servers) |> Enum.filter(&(&1 in chosen))
  end
end
