defmodule MQTT.Mqtt5Test do
  # MQTT 5.0 through all layers.
  use MQTT.Test.Compat
  import MQTT.Test.Mqtt5
  doctest MQTT.Reason

  test_each "CONNACK says what the server takes, and what the handler adds" do
    init = fn _params, state ->
      {:ok, state, {:connack, %{server_keep_alive: 7, user_property: [{"a", "1"}, {"a", "2"}]}}}
    end

    {port, opts} = served(transport, %{init: init}, receive_maximum: 10, topic_alias_maximum: 3)
    {client, connack} = connect_5(port, opts, client_id: "")

    assert %{
             type: :connack,
             reason_code: 0,
             session_present: false,
             properties: %{
               receive_maximum: 10,
               maximum_packet_size: 1_048_576,
               topic_alias_maximum: 3,
               server_keep_alive: 7,
               assigned_client_identifier: id,
               user_property: [{"a", "1"}, {"a", "2"}]
             }
           } = connack

    assert_receive {:init, _, %{client_id: ^id, protocol_version: 5, properties: %{}}}
    assert_open(client)
  end

  test_each "properties come with the message and go out with it" do
    echo = fn topic, message, opts, state ->
      {:ok, state, {:publish, topic, message, Map.take(opts, [:qos, :properties])}}
    end

    {port, opts} = served(transport, %{handle_publish: echo})
    {client, _} = connect_5(port, opts)

    properties = %{
      payload_format_indicator: 1,
      message_expiry_interval: 60,
      content_type: "text/plain",
      response_topic: "answers/1",
      correlation_data: <<0, 255>>,
      user_property: [{"b", "1"}, {"a", "2"}, {"b", "1"}]
    }

    message = %{type: :publish, topic: "a", payload: "é", qos: 1, packet_id: 3}
    send_packet(client, Map.put(message, :properties, properties))
    assert %{type: :puback, packet_id: 3, reason_code: 0} = packet(client)
    assert %{type: :publish, payload: "é", qos: 1, properties: ^properties} = packet(client)
    assert_receive {:handle_publish, ["a", "é", %{properties: ^properties}]}
    send_packet(client, %{type: :publish, topic: "a", payload: "plain"})
    assert_receive {:handle_publish, ["a", "plain", %{properties: none}]} when none == %{}
  end

  test "topic aliases are resolved coming in, and chosen going out" do
    {port, opts} = served(:tcp)
    {client, _} = connect_5(port, opts, properties: %{topic_alias_maximum: 1})
    assert_receive {:init, pid, _}
    aliased = %{type: :publish, payload: "x", properties: %{topic_alias: 2}}
    send_packet(client, Map.put(aliased, :topic, "a/long/topic"))
    send_packet(client, Map.put(aliased, :topic, ""))

    for _ <- 1..2 do
      assert_receive {:handle_publish, ["a/long/topic", "x", %{properties: properties}]}
      assert properties == %{}
    end

    :acted = GenServer.call(pid, {:act, for(n <- 1..2, do: {:publish, "b", "#{n}"})})
    assert %{topic: "b", properties: %{topic_alias: 1}, payload: "1"} = packet(client)
    assert %{topic: "", properties: %{topic_alias: 1}, payload: "2"} = packet(client)

    send_packet(client, Map.merge(aliased, %{topic: "", properties: %{topic_alias: 17}}))
    assert %{type: :disconnect, reason_code: 0x94} = packet(client)
    assert_closed(client)
    assert_receive {:terminate, {:shutdown, {:protocol_error, :topic_alias_invalid}}, _}
  end

  test_each "acknowledgements have the reasons of the callbacks" do
    functions = %{
      handle_publish: fn
        "no", _, _, state -> {:error, {:not_authorized, %{reason_string: "not you"}}, state}
        "nobody", _, _, state -> {:error, :no_matching_subscribers, state}
        _, _, _, state -> {:ok, state}
      end,
      handle_subscribe: fn
        "no", _, _, state -> {:error, 0x87, state}
        _, qos, _, state -> {:ok, qos, state, {:publish, "welcome", ""}}
      end,
      handle_unsubscribe: fn
        "none", _, state -> {:error, :no_subscription_existed, state}
        _, _, state -> {:ok, state}
      end
    }

    {port, opts} = served(transport, functions)
    {client, _} = connect_5(port, opts)

    for {topic, qos, type, code} <- [
          {"no", 1, :puback, 0x87},
          {"no", 2, :pubrec, 0x87},
          {"nobody", 2, :pubrec, 0x10}
        ] do
      send_packet(client, %{type: :publish, topic: topic, qos: qos, packet_id: 1, payload: ""})
      assert %{type: ^type, reason_code: ^code, properties: properties} = packet(client)
      if topic == "no", do: assert(properties == %{reason_string: "not you"})
    end

    options = %{qos: 1, no_local: true, retain_as_published: true, retain_handling: 2}

    send_packet(client, %{
      type: :subscribe,
      packet_id: 5,
      filters: [{"no", %{qos: 0}}, {"a/#", options}],
      properties: %{subscription_identifier: 9, user_property: [{"k", "v"}]}
    })

    assert %{type: :suback, packet_id: 5, reason_codes: [0x87, 1]} = packet(client)
    assert %{type: :publish, topic: "welcome"} = packet(client)
    assert_receive {:handle_subscribe, ["a/#", 1, said]}
    assert Map.take(said, Map.keys(options)) == options
    assert %{subscription_identifier: 9, properties: %{user_property: [{"k", "v"}]}} = said

    send_packet(client, %{type: :unsubscribe, packet_id: 6, filters: ["a/#", "none"]})
    assert %{type: :unsuback, packet_id: 6, reason_codes: [0, 0x11]} = packet(client)
  end

  test "rejections have the code of the client's version" do
    for {reason, code_4, code_5} <- [
          {:unacceptable_protocol, 1, 0x84},
          {:identifier_rejected, 2, 0x85},
          {:server_unavailable, 3, 0x88},
          {:bad_username_or_password, 4, 0x86},
          {:not_authorized, 5, 0x87},
          {:banned, 5, 0x8A},
          {:quota_exceeded, 3, 0x97},
          {{:server_busy, %{reason_string: "later"}}, 3, 0x89},
          {0x8A, 0x8A, 0x8A}
        ] do
      {port, opts} = served(:tcp, %{init: fn _, _ -> {:stop, reason} end})
      client = open(port, opts)
      send_bytes(client, connect_packet())
      assert recv(client) == <<0x20, 2, 0, code_4>>
      assert_closed(client)

      {client, connack} = connect_5(port, opts)
      assert %{type: :connack, reason_code: ^code_5, properties: properties} = connack
      if is_tuple(reason), do: assert(properties == %{reason_string: "later"})
      assert_closed(client)
      refute_received {:terminate, _, _}
    end
  end

  test_each "the server disconnects with a reason" do
    {port, opts} = served(transport)
    {client, _} = connect_5(port, opts)
    assert_receive {:init, pid, _}
    moved = {:disconnect, :server_moved, %{server_reference: "b.example", reason_string: "gone"}}
    GenServer.cast(pid, {:act, [{:publish, "a", "last"}, moved]})
    assert %{type: :publish, payload: "last"} = packet(client)

    assert %{
             type: :disconnect,
             reason_code: 0x9D,
             properties: %{server_reference: "b.example", reason_string: "gone"}
           } = packet(client)

    assert_closed(client)
    assert_receive {:terminate, {:shutdown, {:disconnect, :server_moved}}, _}
  end

  test "a client of MQTT 3.1.1 is disconnected as well" do
    {port, opts} = served(:tcp)
    client = connect(port, opts)
    assert_receive {:init, pid, _}
    GenServer.cast(pid, {:act, [{:publish, "a", "b"}, {:disconnect, :server_moved}]})
    assert recv(client) == <<0x30, 4, 1::16, "ab">>
    assert_closed(client)
  end

  test "why a connection ends is said once" do
    for {reason, code} <- [
          {:normal, 0x00},
          {:shutdown, 0x8B},
          {{:shutdown, :session_taken_over}, 0x8E},
          {{:shutdown, :whatever}, 0x80}
        ] do
      {port, opts} = served(:tcp)
      {client, _} = connect_5(port, opts)
      assert_receive {:init, pid, _}
      :ok = MQTT.Server.stop(pid, reason, 5_000)
      assert %{type: :disconnect, reason_code: ^code} = packet(client)
      assert_closed(client)
    end

    {port, opts} = served(:tcp)

    for {bytes, code} <- [
          {<<0x36, 0>>, 0x81},
          {<<0x82, 7, 1::16, 0, 1::16, "a", 3>>, 0x82},
          {<<0x30, 5, 1::16, "a", 2, 0x01>>, 0x81},
          {connect_packet(protocol_version: 5), 0x82},
          {<<0xC0, 0x80, 0>>, 0x81}
        ] do
      {client, _} = connect_5(port, opts)
      send_bytes(client, bytes)
      assert %{type: :disconnect, reason_code: ^code} = packet(client)
      assert_closed(client)
      assert_receive {:terminate, {:shutdown, {:protocol_error, _}}, _}
    end
  end

  test_each "a DISCONNECT says why, and may change how long the session is kept" do
    session = MQTT.Session.new()
    init = fn _params, state -> {:ok, state, {:session, session}} end
    {port, opts} = served(transport, %{init: init})
    {client, _} = connect_5(port, opts, properties: %{session_expiry_interval: 10})
    assert MQTT.Session.info(session).expiry_interval == 10
    properties = %{session_expiry_interval: 20}
    send_packet(client, %{type: :disconnect, reason_code: 0x04, properties: properties})
    assert_receive {:handle_disconnect, [:disconnect_with_will_message, ^properties]}
    reason = {:shutdown, {:disconnected, :disconnect_with_will_message}}
    assert_receive {:terminate, ^reason, ^session}
    assert MQTT.Session.info(session).expiry_interval == 20

    {client, _} = connect_5(port, opts)
    send_packet(client, %{type: :disconnect})
    assert_receive {:handle_disconnect, [:normal_disconnection, _]}
    assert_receive {:terminate, :normal, _}

    # What was 0 can't be raised.
    {client, _} = connect_5(port, opts)
    send_packet(client, %{type: :disconnect, properties: properties})
    assert %{type: :disconnect, reason_code: 0x82} = packet(client)
    assert_closed(client)
    assert_receive {:terminate, {:shutdown, {:protocol_error, :session_expiry_raised}}, _}
  end

  test "a client without a session that is kept is told so" do
    {port, opts} = served(:tcp)
    {_client, connack} = connect_5(port, opts, properties: %{session_expiry_interval: 60})
    assert %{properties: %{session_expiry_interval: 0}} = connack
  end

  test "handle_disconnect/3 may stop, for its own reason" do
    stops = fn _, _, state -> {:ok, state, [{:disconnect, {:banned, %{}}}]} end
    {port, opts} = served(:tcp, %{handle_disconnect: stops})
    {client, _} = connect_5(port, opts)
    send_packet(client, %{type: :disconnect})
    assert_receive {:terminate, reason, _}
    assert reason in [:normal, {:shutdown, {:disconnect, :banned}}]
    assert_closed(client)
  end

  describe "enhanced authentication" do
    @method %{authentication_method: "SCRAM"}

    defp rounds(:continue_authentication, %{authentication_data: "2"}, state),
      do: {:continue, %{authentication_data: "3"}, state}

    defp rounds(:continue_authentication, %{authentication_data: "4"}, state),
      do: {:ok, state, {:connack, %{authentication_data: "5"}}}

    defp rounds(:re_authenticate, %{authentication_data: "6"}, state),
      do: {:ok, state, {:auth, %{authentication_data: "7"}}}

    defp rounds(_reason, _properties, state), do: {:error, :not_authorized, state}

    defp authenticating(transport) do
      init = fn
        %{properties: %{authentication_data: "0"}}, state ->
          {:continue, %{authentication_data: "1"}, state}

        _params, state ->
          {:ok, state}
      end

      served(transport, %{init: init, handle_auth: &rounds/3})
    end

    defp auth(client, code, data) do
      properties = Map.put(@method, :authentication_data, data)
      send_packet(client, %{type: :auth, reason_code: code, properties: properties})
    end

    defp begin(port, opts) do
      properties = Map.put(@method, :authentication_data, "0")
      {client, auth} = connect_5(port, opts, properties: properties)
      expected = Map.put(@method, :authentication_data, "1")
      assert %{type: :auth, reason_code: 0x18, properties: ^expected} = auth
      client
    end

    test_each "takes as many rounds as it takes, and can be done anew" do
      {port, opts} = authenticating(transport)
      client = begin(port, opts)
      auth(client, 0x18, "2")

      assert %{type: :auth, reason_code: 0x18, properties: %{authentication_data: "3"}} =
               packet(client)

      auth(client, 0x18, "4")

      assert %{
               type: :connack,
               reason_code: 0,
               properties: %{authentication_data: "5", authentication_method: "SCRAM"}
             } = packet(client)

      assert_open(client)
      auth(client, 0x19, "6")

      assert %{
               type: :auth,
               reason_code: 0,
               properties: %{authentication_data: "7", authentication_method: "SCRAM"}
             } = packet(client)

      assert_open(client)
      auth(client, 0x19, "wrong")
      assert %{type: :disconnect, reason_code: 0x87} = packet(client)
      assert_closed(client)
    end

    test "that fails anew ends with a code that DISCONNECT has" do
      refuse = fn
        :continue_authentication, _, state -> {:ok, state}
        :re_authenticate, _, state -> {:error, {:bad_user_name_or_password, %{}}, state}
      end

      init = fn _, state -> {:continue, %{authentication_data: "1"}, state} end
      {port, opts} = served(:tcp, %{init: init, handle_auth: refuse})
      client = begin(port, opts)
      auth(client, 0x18, "2")
      assert %{type: :connack} = packet(client)
      auth(client, 0x19, "3")
      assert %{type: :disconnect, reason_code: 0x80} = packet(client)
      assert_closed(client)
    end

    test "and a packet that can't be read end the connection for that" do
      {port, opts} = authenticating(:tcp)
      client = begin(port, opts)
      auth(client, 0x18, "4")
      assert %{type: :connack} = packet(client)
      properties = Map.put(@method, :authentication_data, "6")

      {:ok, again} =
        MQTT.Packet.encode(%{type: :auth, reason_code: 0x19, properties: properties}, 5)

      send_bytes(client, [again, <<0x36, 0>>])
      assert %{type: :disconnect, reason_code: 0x81} = packet(client)
      assert_receive {:terminate, {:shutdown, {:protocol_error, :invalid_qos}}, _}
    end

    test_each "may fail" do
      {port, opts} = authenticating(transport)
      client = begin(port, opts)
      auth(client, 0x18, "wrong")
      assert %{type: :connack, reason_code: 0x87} = packet(client)
      assert_closed(client)

      client = begin(port, opts)
      send_bytes(client, <<0xC0, 0>>)
      assert %{type: :connack, reason_code: 0x82} = packet(client)
      assert_closed(client)
      refute_received {:terminate, _, _}
    end

    test_each "is refused where nobody knows it [MQTT-4.12.0-1]" do
      {port, opts} = serve(transport, MQTT.Test.Faulty, {self(), nil})
      {client, connack} = connect_5(port, opts, properties: @method)
      assert %{type: :connack, reason_code: 0x8C} = connack
      assert_closed(client)
    end
  end
end
