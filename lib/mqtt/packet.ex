defmodule MQTT.Packet do
  @moduledoc """
  MQTT packets as maps, in both directions and all versions: the codec of the server, for those who
  want nothing else of it.

      iex> {:ok, binary} = MQTT.Packet.encode(%{type: :publish, topic: "a/b", payload: "hi"}, 4)
      iex> binary
      <<0x30, 7, 0, 3, "a/b", "hi">>
      iex> {:ok, packet, ""} = MQTT.Packet.decode(binary, 4)
      iex> packet
      %{type: :publish, topic: "a/b", payload: "hi", qos: 0, retain: false, dup: false, properties: %{}}

  The version is the protocol level: 3 for MQTT 3.1, 4 for 3.1.1, 5 for 5.0. A CONNECT says its own.

  ## Packets

  | `:type` | Other keys |
  | --- | --- |
  | `:connect` | `protocol_version`, `clean_start` (`true`), `keep_alive` (0), `client_id` (`""`), and, where there is one, `will` (a map of `topic`, `payload`, `qos`, `retain`, `properties`), `username`, `password` |
  | `:connack` | `session_present` (`false`), `reason_code` (0) |
  | `:publish` | `topic`, `payload` (`""`), `qos` (0), `retain` (`false`), `dup` (`false`), at QoS 1 and 2 `packet_id` |
  | `:puback`, `:pubrec`, `:pubrel`, `:pubcomp` | `packet_id`, `reason_code` (0) |
  | `:subscribe` | `packet_id`, `filters`: a list of `{filter, options}`, where options are a map of `qos` (0) and, in MQTT 5.0, `no_local` (`false`), `retain_as_published` (`false`), `retain_handling` (0) |
  | `:suback` | `packet_id`, `reason_codes` |
  | `:unsubscribe` | `packet_id`, `filters`: a list of filters |
  | `:unsuback` | `packet_id`, in MQTT 5.0 `reason_codes` |
  | `:pingreq`, `:pingresp` | |
  | `:disconnect`, `:auth` | `reason_code` (0) |

  To be encoded a packet may leave out what has a default, given here in parentheses. Topics, payloads
  and other strings may be iodata.

  All but the pings have `properties`, a map from the names of MQTT 5.0 in snake case to their values:
  `%{message_expiry_interval: 60, user_property: [{"unit", "°C"}]}`. Numbers are integers, also those that
  stand for yes and no. `user_property` and `subscription_identifier` are lists, because they may
  appear more than once. Before MQTT 5.0 the map is empty.
  """

  alias MQTT.Native

  # From here on the work is done on a dirty scheduler.
  @large 65_536
  # A part of a list counts for so many bytes on top.
  @part 64

  @type version :: 3 | 4 | 5
  @type properties :: %{optional(atom) => term}
  @type type ::
          :connect
          | :connack
          | :publish
          | :puback
          | :pubrec
          | :pubrel
          | :pubcomp
          | :subscribe
          | :suback
          | :unsubscribe
          | :unsuback
          | :pingreq
          | :pingresp
          | :disconnect
          | :auth

  @typedoc "A packet; the keys beside `:type` are those of the module's documentation."
  @type t :: %{required(:type) => type, optional(atom) => term}

  @doc """
  Reads the packet at the front of a binary.

  Strings and payloads over 64 bytes share the binary's memory. There is no limit but the binary's
  own size. An error is an atom that says what is malformed, such as `:invalid_utf8` or
  `:wildcard_in_topic_name`; what stands behind the packet cannot be read then.

  ## Examples

      iex> MQTT.Packet.decode(<<0xC0, 0, 0xE0>>, 4)
      {:ok, %{type: :pingreq}, <<0xE0>>}

      iex> MQTT.Packet.decode(<<0x30>>, 4)
      :incomplete

      iex> MQTT.Packet.decode(<<0x30, 3, 0, 1, "#">>, 4)
      {:error, :wildcard_in_topic_name}

  """
  @spec decode(binary, version) :: {:ok, t, rest :: binary} | :incomplete | {:error, atom}
  def decode(binary, version) when is_binary(binary) and version in [3, 4, 5] do
    if large_first?(binary, version),
      do: Native.packet_decode_large(binary, version),
      else: Native.packet_decode(binary, version)
  end

  @doc false
  # Whether the first packet of a binary takes a dirty scheduler to be decoded.
  def large_first?(binary, _version) when byte_size(binary) <= @large, do: false
  # A message is not looked at but for its topic, and before MQTT 5.0 there is nothing else.
  def large_first?(<<3::4, _::bitstring>>, version) when version < 5, do: false
  # The Remaining Length has a third byte from 16,384 on.
  def large_first?(<<_, 1::1, _::7, 1::1, _::bitstring>>, _version), do: true
  def large_first?(_binary, _version), do: false

  @doc """
  Writes a packet.

  What `decode/2` would refuse is not written: the error is then the same atom.
  `{:error, {:invalid, key}}` says that a key is missing or has a value of another type, and
  `{:error, {:invalid_property, name}}` the same of a property.

  ## Examples

      iex> MQTT.Packet.encode(%{type: :suback, packet_id: 7, reason_codes: [0, 0x80]}, 4)
      {:ok, <<0x90, 4, 0, 7, 0, 0x80>>}

      iex> MQTT.Packet.encode(%{type: :disconnect, reason_code: 0x8B}, 5)
      {:ok, <<0xE0, 1, 0x8B>>}

      iex> MQTT.Packet.encode(%{type: :puback}, 4)
      {:error, {:invalid, :packet_id}}

  """
  @spec encode(t, version) :: {:ok, binary} | {:error, atom | {atom, atom}}
  def encode(%{type: _} = packet, version) when version in [3, 4, 5] do
    if large?(packet),
      do: Native.packet_encode_large(packet, version),
      else: Native.packet_encode(packet, version)
  end

  defp large?(%{payload: payload}), do: large_term?(payload)
  defp large?(%{filters: filters}), do: large_term?(filters)
  defp large?(%{reason_codes: codes}), do: large_term?(codes)
  defp large?(_packet), do: false

  @doc false
  # Whether iodata, filters or reason codes take a dirty scheduler to be encoded.
  def large_term?(term), do: left(term, @large) < 0

  defp left(_term, left) when left < 0, do: left
  defp left([part | rest], left), do: left(rest, left(part, left - @part))
  defp left({filter, _options}, left), do: left(filter, left)
  defp left(part, left) when is_binary(part), do: left - byte_size(part)
  defp left([], left), do: left
  defp left(_part, left), do: left
end
