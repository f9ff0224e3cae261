defmodule :mqtt_packet do
  @moduledoc """
  Packets of MQTT 3.1 and 3.1.1 as the records of `include/mqtt_packet.hrl`.

  In Erlang:

      -include_lib("mqtt/include/mqtt_packet.hrl").

      {ok, #mqtt_publish{topic = Topic}, Rest} = mqtt_packet:decode(Binary).

  `MQTT.Packet` has all versions, as maps.
  """

  alias MQTT.{Native, Packet}

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
    if Packet.large_first?(binary, 4),
      do: Native.record_decode_large(binary),
      else: Native.record_decode(binary)
  end

  @doc """
  Writes a packet. Raises an `ArgumentError` that says why if the record is none that can be written.

  ## Examples

      iex> :mqtt_packet.encode({:mqtt_suback, 1, [2, :failed, 0]}) |> IO.iodata_to_binary()
      <<0x90, 5, 0, 1, 2, 0x80, 0>>

  """
  @spec encode(packet) :: iodata
  # A call into the native part would take longer than these few bytes.
  def encode({:mqtt_connack, false, code}) when code in 0..0xFF, do: <<0x20, 2, 0, code>>
  def encode({:mqtt_puback, id}) when id in 1..0xFFFF, do: <<0x40, 2, id::16>>
  def encode({:mqtt_pubrec, id}) when id in 1..0xFFFF, do: <<0x50, 2, id::16>>
  def encode({:mqtt_pubrel, id}) when id in 1..0xFFFF, do: <<0x62, 2, id::16>>
  def encode({:mqtt_pubcomp, id}) when id in 1..0xFFFF, do: <<0x70, 2, id::16>>
  def encode({:mqtt_unsuback, id}) when id in 1..0xFFFF, do: <<0xB0, 2, id::16>>
  def encode({:mqtt_pingreq}), do: <<0xC0, 0>>
  def encode({:mqtt_pingresp}), do: <<0xD0, 0>>
  def encode({:mqtt_disconnect}), do: <<0xE0, 0>>

  def encode(packet) when is_tuple(packet) do
    encoded =
      if large?(packet),
        do: Native.record_encode_large(packet),
        else: Native.record_encode(packet)

    case encoded do
      {:ok, parts} ->
        parts

      {:error, reason} ->
        raise ArgumentError, "#{inspect(packet)} cannot be encoded: #{inspect(reason)}"
    end
  end

  # The payload of a message is only looked at, unless it has parts.
  defp large?({:mqtt_publish, _id, _dup, _qos, _retain, _topic, message}),
    do: is_list(message) and Packet.large_term?(message)

  defp large?({:mqtt_subscribe, _id, topics}), do: Packet.large_term?(topics)
  defp large?({:mqtt_unsubscribe, _id, topics}), do: Packet.large_term?(topics)
  defp large?({:mqtt_suback, _id, acks}), do: Packet.large_term?(acks)
  defp large?(_packet), do: false
end
