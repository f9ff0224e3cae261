defmodule MQTT.Test.Clients do
  @moduledoc false
  # Other people's clients: the commands that have them do the same, and the lines they write then.

  @root Path.expand("../..", __DIR__)
  @expiry 3_600

  @all [
    {:mosquitto, "3.1.1"},
    {:mosquitto, "5"},
    {:paho, "3.1.1"},
    {:paho, "5"},
    {:mqttjs, "3.1.1"},
    {:mqttjs, "5"}
  ]

  @doc "The clients, each with its versions: `{client, version}`. A QoS is put behind that."
  def all, do: @all

  @doc """
  The command with which a client publishes `message 1` and so on, in MQTT 5.0 with properties, and
  which ends when all are acknowledged.

  Options are `:id` and `:session`, as in `subscribe/5`, `:retain`, and `:expiry` in seconds.
  """
  def publish(client, port, topic, count, options \\ [])

  def publish({:mosquitto, version, qos}, port, topic, count, options) do
    script = ~S(seq --format="message %.0f" "$0" | exec "$@")
    arguments = mosquitto("mosquitto_pub", port, version, qos, topic) ++ more(options, version)
    expiry = Keyword.get(options, :expiry, @expiry)
    command("sh", ["-c", script, count | arguments] ++ ["-l" | sent(version, expiry)])
  end

  def publish({client, version, qos}, port, topic, count, options),
    do: script(client, ["publish", port, version, qos, topic, count | named(options)])

  @doc """
  The command with which a client subscribes, in MQTT 5.0 with an identifier, says "Subscribed", writes
  a line for each message, and ends when it has so many. With 0 it goes on until it is killed or told
  to disconnect, and writes so.

  Options are `:id`, a client identifier; `:session`, for how many seconds its session stays; `:will`, the
  topic of a will that says "gone"; and `:reconnect` for one that comes back when the connection breaks.
  """
  def subscribe(client, port, filter, count, options \\ [])

  def subscribe({:mosquitto, version, qos}, port, filter, count, options) do
    format = Enum.join(~w(%t %q %r %p %E %C %R %D %F %S %P), "\t")
    identifier = if version == "5", do: ~w(-D subscribe subscription-identifier 77), else: []
    count = if count == 0, do: [], else: ["-C", count]
    arguments = mosquitto("mosquitto_sub", port, version, qos, filter) ++ more(options, version)
    # Line by line, because what goes into a pipe would be held back.
    command(
      "stdbuf",
      ["-oL" | arguments] ++ identifier ++ ["-d", "-W", 60, "-F", format] ++ count
    )
  end

  def subscribe({client, version, qos}, port, filter, count, options),
    do: script(client, ["subscribe", port, version, qos, filter, count | named(options)])

  @doc "The command with which a client answers so many requests to a topic, in MQTT 5.0."
  def answer({client, "5", qos}, port, topic, count),
    do: script(client, ["answer", port, "5", qos, topic, count])

  @doc "The command with which a client does what MQTT.Test.Relay refuses, and writes the answers."
  def refusals(client, port, version), do: script(client, ["refusals", port, version])

  @doc "The command of a client of mosquitto that says what it does."
  def debug(name, port, version, qos, topic, more \\ []),
    do: command("stdbuf", ["-oL" | mosquitto(name, port, version, qos, topic)] ++ ["-d" | more])

  @doc "The messages among the lines of a client that has subscribed."
  def messages(lines), do: for(line <- lines, line =~ "\t", do: read(line))

  @doc "The fields of the line for a message. What it has left of its time is rounded up."
  def read(line) do
    [topic, qos, retain, message, expiry | properties] = String.split(line, "\t")
    left = if expiry == "", do: "", else: String.to_integer(expiry)
    expiry = if left in 3_570..@expiry, do: @expiry, else: left
    [topic, qos, retain, message, expiry | properties]
  end

  @doc "The fields that the message of that number is to have, between two `{client, version, qos}`."
  def expected({_, _, sent} = from, {_, version, granted} = to, topic, number)
      when is_integer(sent) and is_integer(granted) do
    identifier = if version == "5", do: "77", else: ""
    fields = [topic, "#{min(sent, granted)}", "0", "message #{number}"]

    case received(from, to, number) do
      nil ->
        fields ++ ["", "", "", "", "", identifier, ""]

      {correlation, user} ->
        fields ++ [@expiry, "text/plain", "answers/ü", correlation, "1", identifier, user]
    end
  end

  defp received({from, "5", _}, {to, "5", _}, number) do
    # mosquitto_pub has the same properties for all, and MQTT.js groups user properties by their names.
    correlation = if from == :mosquitto, do: "", else: "#{number}"

    user =
      if :mqttjs in [from, to],
        do: "unit:°C unit:K unit:°C a:1",
        else: "unit:°C a:1 unit:K unit:°C"

    {<<0xFF, 0xFE, correlation::binary>>, user}
  end

  defp received(_from, _to, _number), do: nil

  defp sent("5", expiry) do
    properties = [
      ["message-expiry-interval", expiry],
      ["content-type", "text/plain"],
      ["response-topic", "answers/ü"],
      ["correlation-data", <<0xFF, 0xFE>>],
      ["payload-format-indicator", 1],
      ["user-property", "unit", "°C"],
      ["user-property", "a", 1],
      ["user-property", "unit", "K"],
      ["user-property", "unit", "°C"]
    ]

    Enum.flat_map(properties, &["-D", "publish" | &1])
  end

  defp sent(_version, _expiry), do: []

  defp mosquitto(name, port, version, qos, topic) do
    version = %{"3.1" => "mqttv31", "3.1.1" => "mqttv311", "5" => "mqttv5"}[version]
    [name, "-h", "127.0.0.1", "-p", port, "-V", version, "-q", qos, "-t", topic]
  end

  # The options of mosquitto_pub and mosquitto_sub, which reconnects anyway.
  defp more(options, version) do
    Enum.flat_map(options, fn
      {:id, id} -> ["-i", id]
      {:session, seconds} when version == "5" -> ["-c", "-x", seconds]
      {:session, _seconds} -> ["-c"]
      {:will, topic} -> ["--will-topic", topic, "--will-payload", "gone", "--will-qos", 1]
      {:retain, true} -> ["-r"]
      {_, _} -> []
    end)
  end

  defp named(options) do
    for {name, value} <- options, do: "#{name}=#{if value == true, do: 1, else: value}"
  end

  defp script(:paho, arguments),
    do: {"/usr/bin/python3", strings([support("paho_client.py") | arguments])}

  defp script(:mqttjs, arguments) do
    installed = Path.join(@root, "target/npm/node_modules/mqtt")
    File.dir?(installed) || raise "MQTT.js is missing: script/setup test"
    command("node", [support("mqttjs_client.js") | arguments])
  end

  defp support(file), do: Path.join([@root, "test/support", file])

  defp command(name, arguments) do
    program = System.find_executable(name) || raise "#{name} is missing: script/setup test"
    {program, strings(arguments)}
  end

  defp strings(arguments), do: Enum.map(arguments, &to_string/1)
end
