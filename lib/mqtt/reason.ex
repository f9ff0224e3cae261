defmodule MQTT.Reason do
  @codes [
    {0x00, :success},
    {0x01, :granted_qos_1},
    {0x02, :granted_qos_2},
    {0x04, :disconnect_with_will_message},
    {0x10, :no_matching_subscribers},
    {0x11, :no_subscription_existed},
    {0x18, :continue_authentication},
    {0x19, :re_authenticate},
    {0x80, :unspecified_error},
    {0x81, :malformed_packet},
    {0x82, :protocol_error},
    {0x83, :implementation_specific_error},
    {0x84, :unsupported_protocol_version},
    {0x85, :client_identifier_not_valid},
    {0x86, :bad_user_name_or_password},
    {0x87, :not_authorized},
    {0x88, :server_unavailable},
    {0x89, :server_busy},
    {0x8A, :banned},
    {0x8B, :server_shutting_down},
    {0x8C, :bad_authentication_method},
    {0x8D, :keep_alive_timeout},
    {0x8E, :session_taken_over},
    {0x8F, :topic_filter_invalid},
    {0x90, :topic_name_invalid},
    {0x91, :packet_identifier_in_use},
    {0x92, :packet_identifier_not_found},
    {0x93, :receive_maximum_exceeded},
    {0x94, :topic_alias_invalid},
    {0x95, :packet_too_large},
    {0x96, :message_rate_too_high},
    {0x97, :quota_exceeded},
    {0x98, :administrative_action},
    {0x99, :payload_format_invalid},
    {0x9A, :retain_not_supported},
    {0x9B, :qos_not_supported},
    {0x9C, :use_another_server},
    {0x9D, :server_moved},
    {0x9E, :shared_subscriptions_not_supported},
    {0x9F, :connection_rate_exceeded},
    {0xA0, :maximum_connect_time},
    {0xA1, :subscription_identifiers_not_supported},
    {0xA2, :wildcard_subscriptions_not_supported}
  ]

  @moduledoc """
  The reason codes of MQTT 5.0 (section 2.4) by their names.

  Callbacks may give either where a reason is asked for, `{:error, :not_authorized, state}` as well as
  `{:error, 0x87, state}`, and get names. Earlier versions of the protocol have fewer codes, which the
  library chooses.

      iex> MQTT.Reason.code(:not_authorized)
      0x87
      iex> MQTT.Reason.name(0x87)
      :not_authorized

  | Code | Name |
  | --- | --- |
  #{for {code, name} <- @codes, do: "| 0x#{Base.encode16(<<code>>)} | `#{inspect(name)}` |\n"}
  """

  @typedoc "A name, or a code."
  @type t :: atom | 0..255

  @doc """
  The code of a name; a code is its own. `:normal_disconnection` and `:granted_qos_0` are other names
  of 0x00. An `ArgumentError` for anything else.
  """
  @spec code(t) :: 0..255
  def code(reason) do
    case fetch(reason) do
      {:ok, code} -> code
      :error -> raise ArgumentError, "#{inspect(reason)} is no reason code of MQTT.Reason"
    end
  end

  @doc "As `code/1`, but `{:ok, code}` or `:error`."
  @spec fetch(term) :: {:ok, 0..255} | :error
  def fetch(code) when is_integer(code) and code in 0..255, do: {:ok, code}
  def fetch(:normal_disconnection), do: {:ok, 0x00}
  def fetch(:granted_qos_0), do: {:ok, 0x00}

  for {code, name} <- @codes do
    def fetch(unquote(name)), do: {:ok, unquote(code)}
  end

  def fetch(_), do: :error

  @doc "The name of a code; of one that has none, the code."
  @spec name(0..255) :: t
  for {code, name} <- @codes do
    def name(unquote(code)), do: unquote(name)
  end

  def name(code) when code in 0..255, do: code

  # What the native side calls wrong, for a sentence.
  @doc false
  @spec words(atom) :: String.t()
  def words(reason), do: reason |> to_string() |> String.replace("_", " ")
end
