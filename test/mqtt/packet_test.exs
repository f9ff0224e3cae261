defmodule MQTT.PacketTest do
  use ExUnit.Case, async: true
  doctest MQTT.Packet
  doctest :mqtt_packet

  alias MQTT.Packet

  # Packets with every key, the versions they belong to, and what they are on the wire.
  @packets [
    {%{
       type: :connect,
       protocol_version: 3,
       clean_start: true,
       keep_alive: 10,
       client_id: "c",
       properties: %{}
     }, [3, 4, 5], <<0x10, 15, 0, 6, "MQIsdp", 3, 2, 0, 10, 0, 1, "c">>},
    {%{
       type: :connect,
       protocol_version: 5,
       clean_start: false,
       keep_alive: 0,
       client_id: "",
       properties: %{user_property: [{"a", "b"}, {"a", "c"}]},
       will: %{
         topic: "w",
         payload: "m",
         qos: 1,
         retain: true,
         properties: %{will_delay_interval: 3}
       },
       username: "u",
       password: <<0xFF>>
     }, [4, 5],
     <<0x10, 45, 0, 4, "MQTT", 5, 0xEC, 0, 0, 14, 0x26, 0, 1, "a", 0, 1, "b", 0x26, 0, 1, "a", 0,
       1, "c", 0, 0, 5, 0x18, 0, 0, 0, 3, 0, 1, "w", 0, 1, "m", 0, 1, "u", 0, 1, 0xFF>>},
    {%{type: :connack, session_present: true, reason_code: 0, properties: %{}}, [4],
     <<0x20, 2, 1, 0>>},
    {%{
       type: :connack,
       session_present: false,
       reason_code: 0x87,
       properties: %{reason_string: "no"}
     }, [5], <<0x20, 8, 0, 0x87, 5, 0x1F, 0, 2, "no">>},
    {%{
       type: :publish,
       topic: "a",
       payload: "m",
       qos: 0,
       retain: true,
       dup: false,
       properties: %{}
     }, [3, 4], <<0x31, 4, 0, 1, "a", "m">>},
    {%{
       type: :publish,
       topic: "a",
       payload: "",
       qos: 2,
       retain: false,
       dup: true,
       packet_id: 9,
       properties: %{subscription_identifier: [1, 300]}
     }, [5], <<0x3C, 11, 0, 1, "a", 0, 9, 5, 0x0B, 1, 0x0B, 0xAC, 2>>},
    {%{type: :puback, packet_id: 1, reason_code: 0, properties: %{}}, [3, 4, 5],
     <<0x40, 2, 0, 1>>},
    {%{type: :pubrec, packet_id: 1, reason_code: 0x87, properties: %{}}, [5],
     <<0x50, 3, 0, 1, 0x87>>},
    {%{type: :pubrel, packet_id: 1, reason_code: 0, properties: %{}}, [3, 4, 5],
     <<0x62, 2, 0, 1>>},
    {%{type: :pubcomp, packet_id: 1, reason_code: 0, properties: %{}}, [3, 4, 5],
     <<0x70, 2, 0, 1>>},
    {%{
       type: :subscribe,
       packet_id: 1,
       filters: [{"a", %{qos: 1}}, {"#", %{qos: 0}}],
       properties: %{}
     }, [3, 4], <<0x82, 10, 0, 1, 0, 1, "a", 1, 0, 1, "#", 0>>},
    {%{
       type: :subscribe,
       packet_id: 1,
       filters: [{"a", %{qos: 1, no_local: true, retain_as_published: true, retain_handling: 2}}],
       properties: %{subscription_identifier: [5]}
     }, [5], <<0x82, 9, 0, 1, 2, 0x0B, 5, 0, 1, "a", 0x2D>>},
    {%{type: :suback, packet_id: 1, reason_codes: [2, 0x80], properties: %{}}, [3, 4],
     <<0x90, 4, 0, 1, 2, 0x80>>},
    {%{type: :unsubscribe, packet_id: 1, filters: ["a", "b/#"], properties: %{}}, [3, 4],
     <<0xA2, 10, 0, 1, 0, 1, "a", 0, 3, "b/#">>},
    {%{type: :unsuback, packet_id: 1, reason_codes: [], properties: %{}}, [3, 4],
     <<0xB0, 2, 0, 1>>},
    {%{type: :unsuback, packet_id: 1, reason_codes: [0, 0x11], properties: %{}}, [5],
     <<0xB0, 5, 0, 1, 0, 0, 0x11>>},
    {%{type: :pingreq}, [3, 4, 5], <<0xC0, 0>>},
    {%{type: :pingresp}, [3, 4, 5], <<0xD0, 0>>},
    {%{type: :disconnect, reason_code: 0, properties: %{}}, [3, 4, 5], <<0xE0, 0>>},
    {%{type: :disconnect, reason_code: 0x9C, properties: %{server_reference: "b"}}, [5],
     <<0xE0, 6, 0x9C, 4, 0x1C, 0, 1, "b">>},
    {%{type: :auth, reason_code: 0x18, properties: %{authentication_method: "m"}}, [5],
     <<0xF0, 6, 0x18, 4, 0x15, 0, 1, "m">>}
  ]

  test "every packet, in both directions" do
    for {packet, versions, bytes} <- @packets, version <- versions do
      assert Packet.decode(bytes, version) == {:ok, packet, ""}
      assert Packet.decode(bytes <> "rest", version) == {:ok, packet, "rest"}
      assert Packet.encode(packet, version) == {:ok, bytes}

      for cut <- 0..(byte_size(bytes) - 1) do
        assert Packet.decode(binary_part(bytes, 0, cut), version) == :incomplete
      end
    end
  end

  test "every property, in its place" do
    connack = %{
      session_expiry_interval: 1,
      receive_maximum: 2,
      maximum_qos: 1,
      retain_available: 0,
      maximum_packet_size: 3,
      assigned_client_identifier: "c",
      topic_alias_maximum: 4,
      reason_string: "r",
      user_property: [{"", ""}, {"ä", "b"}],
      wildcard_subscription_available: 0,
      subscription_identifier_available: 1,
      shared_subscription_available: 0,
      server_keep_alive: 5,
      response_information: "i",
      server_reference: "s",
      authentication_method: "m",
      authentication_data: <<0>>
    }

    publish = %{
      payload_format_indicator: 1,
      message_expiry_interval: 9,
      topic_alias: 1,
      response_topic: "r",
      correlation_data: <<1, 2>>,
      user_property: [{"a", "b"}],
      subscription_identifier: [1],
      content_type: "t"
    }

    connect = %{
      session_expiry_interval: 1,
      receive_maximum: 2,
      maximum_packet_size: 3,
      topic_alias_maximum: 4,
      request_response_information: 1,
      request_problem_information: 0,
      user_property: [{"a", "b"}],
      authentication_method: "m",
      authentication_data: <<0>>
    }

    for {packet, properties} <- [
          {%{type: :connack}, connack},
          {%{type: :publish, topic: "a"}, publish},
          {%{type: :connect}, connect}
        ] do
      assert {:ok, bytes} = Packet.encode(Map.put(packet, :properties, properties), 5)
      assert {:ok, %{properties: ^properties}, ""} = Packet.decode(bytes, 5)
    end
  end

  test "what may be left out" do
    assert Packet.encode(%{type: :connect}, 4) ==
             {:ok, <<0x10, 12, 0, 4, "MQTT", 4, 2, 0, 0, 0, 0>>}

    assert Packet.encode(%{type: :publish, topic: ["a", ?/]}, 4) == {:ok, <<0x30, 4, 0, 2, "a/">>}
    assert Packet.encode(%{type: :connack}, 5) == {:ok, <<0x20, 3, 0, 0, 0>>}
    assert Packet.encode(%{type: :disconnect}, 5) == {:ok, <<0xE0, 0>>}

    one = %{
      type: :subscribe,
      packet_id: 1,
      filters: [{"a", %{}}],
      properties: %{subscription_identifier: 5}
    }

    assert Packet.encode(one, 5) == {:ok, <<0x82, 9, 0, 1, 2, 0x0B, 5, 0, 1, "a", 0>>}
  end

  test "what is no packet" do
    for {packet, error} <- [
          {%{type: :nothing}, {:invalid, :type}},
          {%{type: "publish"}, {:invalid, :type}},
          {%{type: :publish}, {:invalid, :topic}},
          {%{type: :publish, topic: 1}, {:invalid, :topic}},
          {%{type: :publish, topic: "a", qos: 3}, {:invalid, :qos}},
          {%{type: :publish, topic: "a", qos: 1}, :packet_identifier_mismatch},
          {%{type: :publish, topic: "a", qos: 1, packet_id: 0}, :zero_packet_identifier},
          {%{type: :publish, topic: "a", properties: []}, {:invalid, :properties}},
          {%{type: :publish, topic: "a", properties: %{nothing: 1}},
           {:invalid_property, :nothing}},
          {%{type: :publish, topic: "a", properties: %{topic_alias: "1"}},
           {:invalid_property, :topic_alias}},
          {%{type: :publish, topic: "a", properties: %{server_keep_alive: 1}},
           :property_not_allowed},
          {%{type: :publish, topic: "a", properties: %{topic_alias: 0}}, :zero_topic_alias},
          {%{type: :subscribe, packet_id: 1}, {:invalid, :filters}},
          {%{type: :subscribe, packet_id: 1, filters: []}, :no_topic_filters},
          {%{type: :subscribe, packet_id: 1, filters: ["a"]}, {:invalid, :filters}},
          {%{type: :subscribe, packet_id: 1, filters: [{"a", %{}} | :b]}, {:invalid, :filters}},
          {%{type: :unsubscribe, packet_id: 1, filters: ["a" | :b]}, {:invalid, :filters}},
          {%{type: :suback, packet_id: 1, reason_codes: [0 | 1]}, {:invalid, :reason_codes}},
          {%{type: :publish, topic: "a", properties: %{user_property: [{"a", "b"} | 1]}},
           {:invalid_property, :user_property}},
          {%{type: :connect, protocol_version: 6}, :unacceptable_protocol},
          {%{type: :puback, packet_id: 1, reason_code: 1}, :invalid_reason_code}
        ] do
      assert Packet.encode(packet, 5) == {:error, error}
    end

    assert Packet.encode(%{type: :auth}, 4) == {:error, :not_in_this_version}
    assert_raise FunctionClauseError, fn -> Packet.encode(%{type: :pingreq}, 6) end
    assert_raise FunctionClauseError, fn -> Packet.decode("", 2) end
  end

  test "large packets, which take another way" do
    payload = :binary.copy("x", 1_000_000)

    publish = %{
      type: :publish,
      topic: "a",
      payload: payload,
      qos: 0,
      retain: false,
      dup: false,
      properties: %{}
    }

    assert {:ok, bytes} = Packet.encode(publish, 4)

    assert Packet.encode(%{publish | payload: ["x", binary_part(payload, 1, 999_999)]}, 4) ==
             {:ok, bytes}

    assert Packet.decode(bytes, 4) == {:ok, publish, ""}
    filters = for n <- 1..20_000, do: {"a/#{n}", %{qos: 0}}
    assert {:ok, bytes} = Packet.encode(%{type: :subscribe, packet_id: 1, filters: filters}, 4)
    assert {:ok, %{filters: ^filters}, ""} = Packet.decode(bytes, 4)
  end

  test "long strings share the binary, short ones do not" do
    long = String.duplicate("x", 100)
    {:ok, bytes} = Packet.encode(%{type: :publish, topic: "a", payload: long}, 4)
    {:ok, packet, ""} = Packet.decode(bytes, 4)
    assert :binary.referenced_byte_size(packet.payload) == byte_size(bytes)
    assert :binary.referenced_byte_size(packet.topic) <= 8
  end

  describe "mqtt_packet" do
    @will {:mqtt_last_will, "w", "m", 2, true}

    @records [
      {{:mqtt_connect, "MQTT", 4, :undefined, true, 10, "c", :undefined, :undefined},
       <<0x10, 13, 0, 4, "MQTT", 4, 2, 0, 10, 0, 1, "c">>},
      {{:mqtt_connect, "MQIsdp", 3, @will, false, 10, "c", "u", "p"},
       <<0x10, 27, 0, 6, "MQIsdp", 3, 0xF4, 0, 10, 0, 1, "c", 0, 1, "w", 0, 1, "m", 0, 1, "u", 0,
         1, "p">>},
      {{:mqtt_connack, false, 5}, <<0x20, 2, 0, 5>>},
      {{:mqtt_publish, :undefined, false, 0, true, "a", "m"}, <<0x31, 4, 0, 1, "am">>},
      {{:mqtt_publish, 7, true, 1, false, "a", "m"}, <<0x3A, 6, 0, 1, "a", 0, 7, "m">>},
      {{:mqtt_puback, 1}, <<0x40, 2, 0, 1>>},
      {{:mqtt_pubrec, 1}, <<0x50, 2, 0, 1>>},
      {{:mqtt_pubrel, 1}, <<0x62, 2, 0, 1>>},
      {{:mqtt_pubcomp, 1}, <<0x70, 2, 0, 1>>},
      {{:mqtt_subscribe, 1, [{"a", 1}, {"b/#", 0}]},
       <<0x82, 12, 0, 1, 0, 1, "a", 1, 0, 3, "b/#", 0>>},
      {{:mqtt_suback, 1, [0, 1, 2, :failed]}, <<0x90, 6, 0, 1, 0, 1, 2, 0x80>>},
      {{:mqtt_unsubscribe, 1, ["a", "b"]}, <<0xA2, 8, 0, 1, 0, 1, "a", 0, 1, "b">>},
      {{:mqtt_unsuback, 1}, <<0xB0, 2, 0, 1>>},
      {{:mqtt_pingreq}, <<0xC0, 0>>},
      {{:mqtt_pingresp}, <<0xD0, 0>>},
      {{:mqtt_disconnect}, <<0xE0, 0>>}
    ]

    test "every record, in both directions" do
      for {record, bytes} <- @records do
        assert :mqtt_packet.decode(bytes <> "rest") == {:ok, record, "rest"}
        assert record |> :mqtt_packet.encode() |> IO.iodata_to_binary() == bytes
      end
    end

    test "what 0.2.2 took: a packet identifier at QoS 0, iodata" do
      record = {:mqtt_publish, 7, false, 0, false, ["a"], ["m", ?n]}
      assert record |> :mqtt_packet.encode() |> IO.iodata_to_binary() == <<0x30, 5, 0, 1, "amn">>
    end

    test "what cannot be" do
      {:ok, v5} = Packet.encode(%{type: :connect, protocol_version: 5}, 5)
      assert :mqtt_packet.decode(v5) == {:error, :unacceptable_protocol}
      assert :mqtt_packet.decode(<<0x30, 2, 0, 0>>) == {:error, :empty_topic_name}

      assert :mqtt_packet.decode(<<0x30, 0xFF, 0xFF, 0xFF, 0xFF>>) ==
               {:error, :remaining_length_too_long}

      for bad <- [
            {:mqtt_puback, 0},
            {:mqtt_nothing},
            {:mqtt_publish, 1, false, 0, false, String.duplicate("x", 65_536), ""}
          ] do
        assert_raise ArgumentError, fn -> :mqtt_packet.encode(bad) end
      end
    end
  end
end
