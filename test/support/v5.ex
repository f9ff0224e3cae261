defmodule MQTT.Test.V5 do
  @moduledoc false
  # Packets of MQTT 5.0, and short dialogues with them. Properties are the bytes behind their length.

  import ExUnit.Assertions
  import MQTT.Test.Bytes
  import MQTT.Test.Wire, except: [connect: 1, connect: 2]

  @doc """
  A CONNECT with these connect flags and fields of its payload: strings, or a will. Bytes may follow.
  """
  def connect(flags, fields, properties \\ "", keep_alive \\ 60, behind \\ "") do
    fields = for field <- fields, do: if(is_binary(field), do: string(field), else: field)
    start = [string("MQTT"), <<5, flags, keep_alive::16>>, with_length(properties)]
    packet(0x10, [start, fields, behind])
  end

  @doc "The fields of a will in the payload of a CONNECT."
  def will(topic, payload, properties \\ "") do
    [with_length(properties), string(topic), string(payload)]
  end

  @doc "A PUBLISH with this first byte, which has DUP, QoS and RETAIN, and with a packet identifier or nil."
  def publish(first \\ 0x30, topic, id \\ nil, payload, properties \\ "") do
    id = if id, do: <<id::16>>, else: ""
    packet(first, [string(topic), id, with_length(properties), payload])
  end

  @doc "A SUBSCRIBE to filters, each with the byte of its options."
  def subscribe(id, filters, properties \\ "") do
    filters = for {filter, options} <- filters, do: [string(filter), options]
    packet(0x82, [<<id::16>>, with_length(properties), filters])
  end

  def unsubscribe(id, filters, properties \\ "") do
    packet(0xA2, [<<id::16>>, with_length(properties), Enum.map(filters, &string/1)])
  end

  @doc "A packet with a reason code and properties: DISCONNECT (0xE0) or AUTH (0xF0)."
  def reason(first, code, properties \\ ""), do: packet(first, [code, with_length(properties)])

  def expiry(seconds), do: <<0x11, seconds::32>>
  def user_property(name, value), do: <<0x26, string(name)::binary, string(value)::binary>>

  defp with_length(properties) do
    properties = IO.iodata_to_binary(properties)
    [integer(byte_size(properties)), properties]
  end

  @doc """
  The next packet, taken apart:

      {:connack, flags, code, properties}
      {:publish, first_byte, topic, id_or_nil, payload, properties}
      {:puback | :pubrec | :pubrel | :pubcomp, id, code, properties}
      {:suback | :unsuback, id, codes, properties}
      {:disconnect | :auth, code, properties}
      :pingresp

  Properties are a list of numbers with values, in their order.
  """
  def recv_packet(client), do: client |> recv() |> parse()

  @doc "The packets of these bytes, taken apart."
  def packets(""), do: []

  def packets(<<_, rest::binary>> = bytes) do
    {length, behind} = split_integer(rest)
    size = byte_size(bytes) - byte_size(behind) + length
    {packet, others} = :erlang.split_binary(bytes, size)
    [parse(packet) | packets(others)]
  end

  defp parse(<<first, rest::binary>>) do
    {length, body} = split_integer(rest)
    assert byte_size(body) == length
    parse(first, body)
  end

  defp parse(0x20, <<flags, code, rest::binary>>), do: {:connack, flags, code, all(rest)}
  defp parse(0x40, body), do: acknowledgement(:puback, body)
  defp parse(0x50, body), do: acknowledgement(:pubrec, body)
  defp parse(0x62, body), do: acknowledgement(:pubrel, body)
  defp parse(0x70, body), do: acknowledgement(:pubcomp, body)
  defp parse(0x90, body), do: acknowledgements(:suback, body)
  defp parse(0xB0, body), do: acknowledgements(:unsuback, body)
  defp parse(0xD0, ""), do: :pingresp
  defp parse(0xE0, body), do: with_reason(:disconnect, body)
  defp parse(0xF0, body), do: with_reason(:auth, body)

  defp parse(first, <<size::16, topic::binary-size(size), rest::binary>>)
       when first in 0x30..0x3D do
    {id, rest} =
      case rest do
        <<id::16, rest::binary>> when first not in [0x30, 0x31] -> {id, rest}
        rest -> {nil, rest}
      end

    {properties, payload} = split_properties(rest)
    {:publish, first, topic, id, payload, properties}
  end

  # The short forms leave out the properties, or the reason code as well.
  defp acknowledgement(type, <<id::16>>), do: {type, id, 0, []}
  defp acknowledgement(type, <<id::16, code>>), do: {type, id, code, []}
  defp acknowledgement(type, <<id::16, code, rest::binary>>), do: {type, id, code, all(rest)}

  defp acknowledgements(type, <<id::16, rest::binary>>) do
    {properties, codes} = split_properties(rest)
    {type, id, :binary.bin_to_list(codes), properties}
  end

  defp with_reason(type, ""), do: {type, 0, []}
  defp with_reason(type, <<code>>), do: {type, code, []}
  defp with_reason(type, <<code, rest::binary>>), do: {type, code, all(rest)}

  defp all(bytes) do
    assert {properties, ""} = split_properties(bytes)
    properties
  end

  defp split_properties(bytes) do
    {length, rest} = split_integer(bytes)
    {properties, rest} = :erlang.split_binary(rest, length)
    {properties(properties), rest}
  end

  defp properties(""), do: []

  defp properties(<<id, rest::binary>>) do
    {value, rest} = value(type(id), rest)
    [{id, value} | properties(rest)]
  end

  defp type(id) when id in [0x01, 0x17, 0x19, 0x24, 0x25, 0x28, 0x29, 0x2A], do: 8
  defp type(id) when id in [0x13, 0x21, 0x22, 0x23], do: 16
  defp type(id) when id in [0x02, 0x11, 0x18, 0x27], do: 32
  defp type(0x0B), do: :integer
  defp type(0x26), do: :pair
  defp type(id) when id in [0x03, 0x08, 0x09, 0x12, 0x15, 0x16, 0x1A, 0x1C, 0x1F], do: :string

  defp value(:integer, bytes), do: split_integer(bytes)
  defp value(:string, <<size::16, value::binary-size(size), rest::binary>>), do: {value, rest}

  defp value(:pair, bytes) do
    {name, rest} = value(:string, bytes)
    {value, rest} = value(:string, rest)
    {{name, value}, rest}
  end

  defp value(8, <<value, rest::binary>>), do: {value, rest}
  defp value(16, <<value::16, rest::binary>>), do: {value, rest}
  defp value(32, <<value::32, rest::binary>>), do: {value, rest}

  # A variable byte integer, which has to be as short as it can be [MQTT-1.5.5-1].
  defp split_integer(bytes) do
    {value, rest} = split_integer(bytes, 0)
    assert binary_part(bytes, 0, byte_size(bytes) - byte_size(rest)) == integer(value)
    {value, rest}
  end

  defp split_integer(<<0::1, digit::7, rest::binary>>, shift),
    do: {Bitwise.bsl(digit, shift), rest}

  defp split_integer(<<1::1, digit::7, rest::binary>>, shift) do
    {value, rest} = split_integer(rest, shift + 7)
    {value + Bitwise.bsl(digit, shift), rest}
  end

  @doc "A client that is connected, by default with Clean Start 1, and has found no session."
  def connected(port, client_id, flags \\ 0x02, fields \\ [], properties \\ "") do
    {client, {:connack, 0, 0, _}} =
      try_connect(port, connect(flags, [client_id | fields], properties))

    client
  end

  @doc "A client that is connected with Clean Start 0 and has found its session, which it keeps for a while."
  def resumed(port, client_id, properties \\ expiry(60)) do
    {client, {:connack, 1, 0, _}} = try_connect(port, connect(0x00, [client_id], properties))
    client
  end

  @doc "A client that is connected with a session, which stays when the connection ends."
  def with_session(port, client_id, properties \\ "") do
    connected(port, client_id, 0x02, [], [expiry(60), properties])
  end

  @doc "Closes the connection, and waits until its process has ended."
  def leave(client, client_id) do
    close(client)
    assert_receive {:ended, ^client_id, _}
  end

  @doc "A client that sent this CONNECT, and the packet that it got."
  def try_connect(port, connect) do
    client = open(port)
    send_bytes(client, connect)
    {client, recv_packet(client)}
  end

  @doc "Subscribes to filters, each of which gets the QoS it asks for."
  def subscribed(client, filters, properties \\ "") do
    send_bytes(client, subscribe(1, filters, properties))
    granted = for {_, options} <- filters, do: Bitwise.band(options, 3)
    assert {:suback, 1, ^granted, _} = recv_packet(client)
    client
  end

  @doc "Publishes at QoS 1 or 2, to the end of the exchange, and gives the code of PUBACK or PUBREC."
  def publish_fully(client, first \\ 0x32, topic, id, payload, properties \\ "") do
    send_bytes(client, publish(first, topic, id, payload, properties))

    case {first |> Bitwise.bsr(1) |> Bitwise.band(3), recv_packet(client)} do
      {1, {:puback, ^id, code, _}} ->
        code

      {2, {:pubrec, ^id, code, _}} when code >= 0x80 ->
        code

      {2, {:pubrec, ^id, code, _}} ->
        send_bytes(client, <<0x62, 2, id::16>>)
        assert {:pubcomp, ^id, 0, _} = recv_packet(client)
        code
    end
  end

  @doc "So many messages as they come, those of QoS 1 acknowledged: the first byte and the payload of each."
  def recv_acknowledged(client, count) do
    for _ <- 1..count//1 do
      {:publish, first, _, id, payload, _} = recv_packet(client)
      if id, do: send_bytes(client, <<0x40, 2, id::16>>)
      {first, payload}
    end
  end

  @doc "Whatever the publisher has sent so far, nothing of it is on the way to the subscriber."
  def assert_nothing(subscriber, publisher) do
    subscribed(subscriber, [{"behind", 0}])
    send_bytes(publisher, publish("behind", "x"))
    assert recv(subscriber) == publish("behind", "x")
  end

  @doc "These bytes are answered with the end, before which a CONNACK with one of these codes may come."
  def assert_refused(port, bytes, codes) do
    client = open(port)
    send_bytes(client, bytes)

    case client |> recv_all() |> packets() do
      [] -> :ok
      [{:connack, 0, code, _}] -> assert code in codes
    end
  end

  @doc "From a connected client these bytes are answered with DISCONNECT and the end."
  def assert_disconnected(port, bytes, codes) do
    client = connected(port, "broken")
    send_bytes(client, bytes)
    assert_ended(client, codes)
  end

  @doc "DISCONNECT with one of these codes comes, and the end."
  def assert_ended(client, codes) do
    assert {:disconnect, code, properties} = recv_packet(client)
    assert code in codes
    # The server does not change the session's life [MQTT-3.14.2-2].
    refute List.keymember?(properties, 0x11, 0)
    assert_closed(client)
  end
end
