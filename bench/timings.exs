# Times one thing after the other with the modules that `elixir -pa` brings, and prints a line each:
# nanoseconds, and what it is.
#
#     timings.exs records | maps | calls
#
# `records` are the packets of `:mqtt_packet`, which 0.2.2 has as well, `maps` those of `MQTT.Packet`,
# `calls` are into `MQTT.Native`.

defmodule Bench.Timings do
  # Which of the modules there are depends on whose they are.
  @compile {:no_warn_undefined, [MQTT.Native, MQTT.Packet, MQTT.Server.Options, :mqtt_packet]}

  # A measurement takes so many nanoseconds at least, and so many of them are made.
  @enough 2_000_000
  @times 9

  @batch 100
  @topic "plant/7/line/3/temperature"

  def main([what]) do
    for {name, divisor, function} <- rows(what) do
      IO.puts("#{time(function) / divisor} #{name}")
    end
  end

  defp rows("records"), do: rows(:record, &:mqtt_packet.encode/1, &:mqtt_packet.decode/1)
  defp rows("maps"), do: rows(:map, &encode_map/1, &MQTT.Packet.decode(&1, 4))
  defp rows("calls"), do: calls()

  defp rows(form, encode, decode) do
    packets = for {name, packet} <- packets(), do: {name, packet[form]}

    alone =
      for {name, packet} <- packets do
        wire = IO.iodata_to_binary(encode.(packet))

        [
          {"#{name}: encode", 1, fn -> encode.(packet) end},
          {"#{name}: decode", 1, fn -> decode.(wire) end}
        ]
      end

    Enum.concat(alone ++ [batch(packets, encode, decode)])
  end

  defp encode_map(packet) do
    {:ok, binary} = MQTT.Packet.encode(packet, 4)
    binary
  end

  # Many packets are written at once, and lie one behind the other when they are read.
  defp batch(packets, encode, decode) do
    {name, packet} = List.keyfind(packets, "PUBLISH of 64 B", 0)
    list = List.duplicate(packet, @batch)
    encode_all = fn -> list |> Enum.map(encode) |> IO.iodata_to_binary() end
    wire = encode_all.()

    [
      {"#{name}, each of #{@batch} in a binary: encode", @batch, encode_all},
      {"#{name}, each of #{@batch} in a binary: decode", @batch,
       fn -> decode_all(wire, decode) end}
    ]
  end

  defp decode_all("", _decode), do: :ok

  defp decode_all(wire, decode) do
    {:ok, _packet, rest} = decode.(wire)
    decode_all(rest, decode)
  end

  defp packets do
    filters = for line <- 1..5, level <- ["temperature", "#"], do: "plant/7/line/#{line}/#{level}"

    codes = List.duplicate(1, length(filters))
    subscriptions = for filter <- filters, do: {filter, 1}
    with_options = for filter <- filters, do: {filter, %{qos: 1}}

    [
      {"CONNECT",
       record: {:mqtt_connect, "MQTT", 4, :undefined, true, 60, "sensor-17", "user", "secret"},
       map: %{
         type: :connect,
         protocol_version: 4,
         keep_alive: 60,
         client_id: "sensor-17",
         username: "user",
         password: "secret"
       }},
      {"CONNACK", record: {:mqtt_connack, false, 0}, map: %{type: :connack}},
      {"PUBLISH of 64 B", publish(64)},
      {"PUBLISH of 1 KiB", publish(1024)},
      {"PUBLISH of 64 KiB", publish(65_536)},
      {"PUBLISH of 64 B at QoS 1",
       record: {:mqtt_publish, 7, false, 1, false, @topic, payload(64)},
       map: %{type: :publish, topic: @topic, payload: payload(64), qos: 1, packet_id: 7}},
      {"PUBACK", record: {:mqtt_puback, 7}, map: %{type: :puback, packet_id: 7}},
      {"SUBSCRIBE to 10",
       record: {:mqtt_subscribe, 7, subscriptions},
       map: %{type: :subscribe, packet_id: 7, filters: with_options}},
      {"SUBACK for 10",
       record: {:mqtt_suback, 7, codes}, map: %{type: :suback, packet_id: 7, reason_codes: codes}},
      {"PINGREQ", record: {:mqtt_pingreq}, map: %{type: :pingreq}}
    ]
  end

  defp publish(size) do
    [
      record: {:mqtt_publish, :undefined, false, 0, false, @topic, payload(size)},
      map: %{type: :publish, topic: @topic, payload: payload(size)}
    ]
  end

  defp payload(size), do: String.duplicate("x", size)

  ## Calls

  defp calls do
    options = MQTT.Server.Options.new(__MODULE__, [])
    connection = connected(options.native)
    publish = {:publish, @topic, payload(64)}
    publishes = List.duplicate(publish, @batch)
    wire = publish(64)[:record] |> :mqtt_packet.encode() |> IO.iodata_to_binary()
    wires = String.duplicate(wire, @batch)
    feed = &MQTT.Native.connection_feed(connection, &1)
    send = &MQTT.Native.connection_send(connection, &1, false)

    # What is written is taken, or it would pile up.
    sent = fn commands ->
      :ok = send.(commands)
      MQTT.Native.connection_take_output(connection)
    end

    [
      {"`packet_decode` of nothing", 1, fn -> MQTT.Native.packet_decode("", 4) end},
      {"`connection_queue`", 1, fn -> MQTT.Native.connection_queue(connection) end},
      {"`connection_check_time`", 1, fn -> MQTT.Native.connection_check_time(connection) end},
      {"`connection_take_output` of nothing", 1,
       fn -> MQTT.Native.connection_take_output(connection) end},
      {"`connection_send` of nothing", 1, fn -> send.([]) end},
      {"`connection_feed` of nothing", 1, fn -> feed.("") end},
      {"`connection_feed` of a message", 1, fn -> feed.(wire) end},
      {"`connection_feed` of a message, each of #{@batch}", @batch, fn -> feed.(wires) end},
      {"`connection_send` of a message, and `connection_take_output`", 1,
       fn -> sent.([publish]) end},
      {"`connection_send` of a message, each of #{@batch}, and `connection_take_output`", @batch,
       fn -> sent.(publishes) end},
      {"`counters_read`", 1, &MQTT.Native.counters_read/0}
    ]
  end

  # A connection without a socket, whose client has no Keep Alive.
  defp connected(options) do
    connect = <<0x10, 13, 0, 4, "MQTT", 4, 2, 0, 0, 0, 1, "c">>
    {:ok, connection} = MQTT.Native.connection_open_fed(connect, options)
    {[connect: _params], :decide} = MQTT.Native.connection_feed(connection, "")
    :ok = MQTT.Native.connection_accept(connection, {nil, true, nil, %{}, nil})
    connection
  end

  ## Timing

  # The median, in nanoseconds. The first measurement is not one of them.
  defp time(function) do
    count = enough(function, 1)
    measure(function, count)
    samples = for _ <- 1..@times, do: measure(function, count) / count
    samples |> Enum.sort() |> Enum.at(div(@times, 2))
  end

  defp enough(function, count) do
    if measure(function, count) < @enough, do: enough(function, count * 2), else: count
  end

  defp measure(function, count) do
    start = System.monotonic_time(:nanosecond)
    repeat(function, count)
    System.monotonic_time(:nanosecond) - start
  end

  defp repeat(_function, 0), do: :ok

  defp repeat(function, count) do
    function.()
    repeat(function, count - 1)
  end
end

Bench.Timings.main(System.argv())
