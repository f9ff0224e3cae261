defmodule MQTT.Broker.ACL do
  @moduledoc """
  Who may publish and subscribe to what, from a file in the format of mosquitto's `acl_file`:

      # Clients without a user name may read this.
      topic read $SYS/#

      user roger
      topic readwrite plant/#
      topic deny plant/secret

      # And each client what is its own.
      pattern readwrite devices/%c/#

  `topic` and `pattern` take `read`, `write`, `readwrite` (also if none is said) or `deny`. Lines before the first `user` are for
  clients without a name, those behind one for that user; a `pattern`, in which `%c` is the client identifier and `%u` the
  user name, each alone in its level, is for all. What nothing allows is not allowed.

  A user's own lines decide first, its denials before what it is granted, and only then the patterns. For a name with `+` or `#` in it no
  pattern holds.

  Other than in mosquitto a client may subscribe to a filter only if one line lets it read all that the filter matches and none denies
  a part of it. So what it has subscribed to it may receive, and no message has to be asked about.
  """

  alias MQTT.Native

  @typedoc "What `load/1` has read."
  @opaque t :: reference

  @typedoc "What it says of one client."
  @opaque rules :: reference

  @doc """
  Reads a file. An error is a sentence that names the file and, where one is wrong, the line.

      iex> MQTT.Broker.ACL.load("/none/acl")
      {:error, "/none/acl: no such file or directory"}

  """
  @spec load(Path.t()) :: {:ok, t} | {:error, String.t()}
  def load(path) do
    with {:ok, text} <- File.read(path),
         {:valid, true} <- {:valid, String.valid?(text)},
         {:error, sentence} <- Native.acl_parse(text) do
      {:error, "#{path}, #{sentence}"}
    else
      {:ok, acl} -> {:ok, acl}
      {:valid, false} -> {:error, "#{path}: it is not UTF-8"}
      {:error, reason} -> {:error, "#{path}: #{:file.format_error(reason)}"}
    end
  end

  @doc """
  What such a text says, or a sentence.

      iex> {:ok, acl} = MQTT.Broker.ACL.parse("pattern write devices/%c/#")
      iex> rules = MQTT.Broker.ACL.rules(acl, "thermometer", nil)
      iex> MQTT.Broker.ACL.may_publish?(rules, "devices/thermometer/temperature")
      true
      iex> MQTT.Broker.ACL.may_subscribe?(rules, "devices/thermometer/#")
      false
      iex> MQTT.Broker.ACL.parse("pattern write devices-%c")
      {:error, "line 1: %c and %u in a pattern must each be a whole level"}

  """
  @spec parse(String.t()) :: {:ok, t} | {:error, String.t()}
  def parse(text), do: Native.acl_parse(text)

  @doc "The rules for a client."
  @spec rules(t, client_id :: String.t(), user :: String.t() | nil) :: rules
  def rules(acl, client_id, user), do: Native.acl_client(acl, client_id, user)

  @doc "Whether the client may publish to a topic."
  @spec may_publish?(rules, topic :: String.t()) :: boolean
  def may_publish?(rules, topic), do: Native.rules_may_publish(rules, topic)

  @doc "Whether the client may subscribe to a filter; a shared one counts as the filter behind its group."
  @spec may_subscribe?(rules, filter :: String.t()) :: boolean
  def may_subscribe?(rules, filter), do: Native.rules_may_subscribe(rules, filter)
end
