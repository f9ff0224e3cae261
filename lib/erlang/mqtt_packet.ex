defmodule :mqtt_packet do
  @moduledoc """
  Packets of MQTT 3.1 and 3.1.1 as the records of `include/mqtt_packet.hrl`.

  In Erlang:

      -include_lib("mqtt/include/mqtt_packet.hrl").

      {ok, #mqtt_publish{topic = Topic}, Rest} = mqtt_packet:decode(Binary).

  `MQTT.Packet` has all versions, as maps.
  """

  require Record

  alias MQTT.Packet

  @header Path.expand("../../include/mqtt_packet.hrl", __DIR__)
  @external_resource @header

  for {name, fields} <- Record.extract_all(from: @header) do
    Record.defrecordp(name, fields)
  end

  @type qos :: 0 | 1 | 2
  @type packet_id :: 0..65_535
  @type topic :: binary
  @typedoc "One of the records."
  @type packet :: tuple

  @doc """
  Reads the packet at the front of a binary.

  An error is an atom that says what is malformed. It has none of MQTT 5.0.

  ## Examples

      iex> :mqtt_packet.decode(<<0xC0, 0, 1>>)
      {:ok, {:mqtt_pingreq}, <<1>>}

      iex> :mqtt_packet.decode(<<0x30, 5, 0, 1, "a">>)
      :incomplete

      iex> :mqtt_packet.decode(<<0x36, 0>>)
      {:error, :invalid_qos}

  """
  @spec decode(binary) :: {:ok, packet, rest :: binary} | :incomplete | {:error, atom}
  def decode(binary) when is_binary(binary) do
    with {:ok, packet, rest} <- Packet.decode(binary, 4),
         {:ok, record} <- record(packet) do
      {:ok, record, rest}
    end
  end

  @doc """
  Writes a packet. Raises an `ArgumentError` that says why if the record is none that can be written.

  ## Examples

      iex> :mqtt_packet.encode({:mqtt_suback, 1, [2, :failed, 0]}) |> IO.iodata_to_binary()
      <<0x90, 5, 0, 1, 2, 0x80, 0>>

  """
  @spec encode(packet) :: iodata
  def encode(packet) when is_tuple(packet) do
    case Packet.encode(map(packet), 4) do
      {:ok, binary} ->
        binary

      {:error, reason} ->
        raise ArgumentError, "#{inspect(packet)} cannot be encoded: #{inspect(reason)}"
    end
  end

  defp record(%{type: :connect, protocol_version: 5}), do: {:error, :unacceptable_protocol}

  defp record(%{type: :connect} = packet) do
    {:ok,
     mqtt_connect(
       protocol_name: if(packet.protocol_version == 3, do: "MQIsdp", else: "MQTT"),
       protocol_level: packet.protocol_version,
       last_will: last_will(packet[:will]),
       clean_session: packet.clean_start,
       keep_alive: packet.keep_alive,
       client_id: packet.client_id,
       username: packet[:username] || :undefined,
       password: packet[:password] || :undefined
     )}
  end

  defp record(%{type: :connack, session_present: present, reason_code: code}),
    do: {:ok, mqtt_connack(session_present: present, return_code: code)}

  defp record(%{type: :publish} = packet) do
    {:ok,
     mqtt_publish(
       packet_id: packet[:packet_id] || :undefined,
       dup: packet.dup,
       qos: packet.qos,
       retain: packet.retain,
       topic: packet.topic,
       message: packet.payload
     )}
  end

  defp record(%{type: :puback, packet_id: id}), do: {:ok, mqtt_puback(packet_id: id)}
  defp record(%{type: :pubrec, packet_id: id}), do: {:ok, mqtt_pubrec(packet_id: id)}
  defp record(%{type: :pubrel, packet_id: id}), do: {:ok, mqtt_pubrel(packet_id: id)}
  defp record(%{type: :pubcomp, packet_id: id}), do: {:ok, mqtt_pubcomp(packet_id: id)}

  defp record(%{type: :subscribe, packet_id: id, filters: filters}) do
    topics = for {filter, %{qos: qos}} <- filters, do: {filter, qos}
    {:ok, mqtt_subscribe(packet_id: id, topics: topics)}
  end

  defp record(%{type: :suback, packet_id: id, reason_codes: codes}) do
    acks = for code <- codes, do: if(code == 0x80, do: :failed, else: code)
    {:ok, mqtt_suback(packet_id: id, acks: acks)}
  end

  defp record(%{type: :unsubscribe, packet_id: id, filters: filters}),
    do: {:ok, mqtt_unsubscribe(packet_id: id, topics: filters)}

  defp record(%{type: :unsuback, packet_id: id}), do: {:ok, mqtt_unsuback(packet_id: id)}
  defp record(%{type: :pingreq}), do: {:ok, mqtt_pingreq()}
  defp record(%{type: :pingresp}), do: {:ok, mqtt_pingresp()}
  defp record(%{type: :disconnect}), do: {:ok, mqtt_disconnect()}

  defp last_will(nil), do: :undefined

  defp last_will(%{topic: topic, payload: message, qos: qos, retain: retain}),
    do: mqtt_last_will(topic: topic, message: message, qos: qos, retain: retain)

  # The keys of MQTT.Packet. What is undefined in the record is not in the map.
  defp map(mqtt_connect() = connect) do
    defined(%{
      type: :connect,
      protocol_version: mqtt_connect(connect, :protocol_level),
      clean_start: mqtt_connect(connect, :clean_session),
      keep_alive: mqtt_connect(connect, :keep_alive),
      client_id: mqtt_connect(connect, :client_id),
      will: will(mqtt_connect(connect, :last_will)),
      username: mqtt_connect(connect, :username),
      password: mqtt_connect(connect, :password)
    })
  end

  defp map(mqtt_connack(session_present: present, return_code: code)),
    do: %{type: :connack, session_present: present, reason_code: code}

  defp map(mqtt_publish() = publish) do
    # A record may have a packet identifier at QoS 0, where none is written.
    qos = mqtt_publish(publish, :qos)

    defined(%{
      type: :publish,
      packet_id: if(qos == 0, do: :undefined, else: mqtt_publish(publish, :packet_id)),
      dup: mqtt_publish(publish, :dup),
      qos: qos,
      retain: mqtt_publish(publish, :retain),
      topic: mqtt_publish(publish, :topic),
      payload: mqtt_publish(publish, :message)
    })
  end

  defp map(mqtt_puback(packet_id: id)), do: %{type: :puback, packet_id: id}
  defp map(mqtt_pubrec(packet_id: id)), do: %{type: :pubrec, packet_id: id}
  defp map(mqtt_pubrel(packet_id: id)), do: %{type: :pubrel, packet_id: id}
  defp map(mqtt_pubcomp(packet_id: id)), do: %{type: :pubcomp, packet_id: id}

  defp map(mqtt_subscribe(packet_id: id, topics: topics)) do
    filters = for {topic, qos} <- topics, do: {topic, %{qos: qos}}
    %{type: :subscribe, packet_id: id, filters: filters}
  end

  defp map(mqtt_suback(packet_id: id, acks: acks)) do
    codes = for ack <- acks, do: if(ack == :failed, do: 0x80, else: ack)
    %{type: :suback, packet_id: id, reason_codes: codes}
  end

  defp map(mqtt_unsubscribe(packet_id: id, topics: topics)),
    do: %{type: :unsubscribe, packet_id: id, filters: topics}

  defp map(mqtt_unsuback(packet_id: id)), do: %{type: :unsuback, packet_id: id}
  defp map(mqtt_pingreq()), do: %{type: :pingreq}
  defp map(mqtt_pingresp()), do: %{type: :pingresp}
  defp map(mqtt_disconnect()), do: %{type: :disconnect}

  defp map(other) do
    raise ArgumentError, "#{inspect(other)} is none of the records of mqtt_packet.hrl"
  end

  defp will(mqtt_last_will(topic: topic, message: message, qos: qos, retain: retain)),
    do: %{topic: topic, payload: message, qos: qos, retain: retain}

  defp will(:undefined), do: :undefined

  defp defined(map), do: Map.reject(map, fn {_key, value} -> value == :undefined end)
end
