defmodule MQTT.Options do
  @moduledoc false
  # Options against a schema: checked once, at start, with a sentence for each that is wrong.

  alias MQTT.{Packet, Reason}

  @type type ::
          {:integer, integer, integer | :infinity}
          | :timeout
          | :limit
          | :boolean
          | {:in, [term]}
          | {:check, (term -> {:ok, term} | :error), expected :: String.t()}

  @type schema :: [{name :: atom, type, default :: term, doc :: String.t()}]

  # The default of an option that has to be given.
  @required :"$required"

  # What has no other limit is counted natively.
  @largest 0x7FFF_FFFF_FFFF_FFFF

  # The longest that a process can wait in milliseconds.
  @longest 0xFFFF_FFFF

  def required, do: @required

  @doc "The options as a map with every key of the schema, or an `ArgumentError`."
  @spec validate!(keyword, schema, String.t()) :: map
  def validate!(options, schema, owner) do
    unless Keyword.keyword?(options) do
      raise ArgumentError,
            "the options of #{owner} must be a keyword list, got: #{inspect(options)}"
    end

    known!(options, for({name, _, _, _} <- schema, do: name), owner)

    for {name, type, default, _doc} <- schema, into: %{} do
      case Keyword.fetch(options, name) do
        {:ok, value} -> {name, check!(value, type, name, owner)}
        :error when default == @required -> raise ArgumentError, missing(name, type, owner)
        :error -> {name, default}
      end
    end
  end

  @doc "The options of a message or a subscription, of which the native side wants a map."
  @spec to_map(map | keyword) :: map
  def to_map(options) when is_map(options), do: options

  def to_map(options) do
    if Keyword.keyword?(options),
      do: Map.new(options),
      else:
        raise(ArgumentError, "options must be a map or a keyword list, got: #{inspect(options)}")
  end

  # Of a subscription. Others than these are not looked at, as those that a callback gets.
  @subscription [
    qos: {:in, [0, 1, 2]},
    no_local: :boolean,
    retain_as_published: :boolean,
    shared: :boolean,
    subscription_identifier: {:integer, 1, 268_435_455}
  ]

  @doc "An `ArgumentError` for a filter that is no string, or an option of a subscription that has a wrong value."
  @spec subscription!(term, map) :: :ok
  def subscription!(filter, options) do
    unless is_binary(filter),
      do: raise(ArgumentError, "a topic filter must be a string, got: #{inspect(filter)}")

    for {name, type} <- @subscription, %{^name => value} <- [options] do
      if check(value, type) == :error,
        do:
          raise(
            ArgumentError,
            "#{inspect(name)} must be #{expected(type)}, got: #{inspect(value)}"
          )
    end

    :ok
  end

  @doc "Raises an `ArgumentError` that says what is wrong with a message, of which the native side says `reason`."
  @spec wrong_message(atom, map) :: no_return
  def wrong_message(reason, options),
    do: raise(ArgumentError, "the message cannot be published: #{words(reason, options)}")

  @doc "The same for a sentence."
  @spec words(atom, map) :: String.t()
  def words(:properties, _options), do: "its properties must be a map whose keys are atoms"

  # It does not say of which.
  def words(:invalid_property, %{properties: properties}) do
    packet = %{type: :publish, topic: "a", payload: "", properties: properties}

    case Packet.encode(packet, 5) do
      {:error, {:invalid_property, name}} ->
        "it cannot have the property #{inspect(name)}, or not with the value #{inspect(properties[name])}"

      _ ->
        Reason.words(:invalid_property)
    end
  end

  def words(reason, _options), do: Reason.words(reason)

  @doc "An `ArgumentError` for an option that is none of these."
  @spec known!(keyword, [atom], String.t()) :: :ok
  def known!(options, names, owner) do
    for {name, _} <- options, name not in names do
      raise ArgumentError,
            "unknown option #{inspect(name)} of #{owner}; allowed are " <>
              Enum.map_join(names, ", ", &inspect/1)
    end

    :ok
  end

  @doc "The schema as a Markdown table."
  @spec docs(schema) :: String.t()
  def docs(schema) do
    rows =
      for {name, type, default, doc} <- schema do
        default = if default == @required, do: "required", else: "`#{inspect(default)}`"
        "| `#{inspect(name)}` | #{expected(type)} | #{default} | #{doc} |\n"
      end

    "| Option | Value | Default | Meaning |\n| --- | --- | --- | --- |\n#{rows}"
  end

  defp check!(value, type, name, owner) do
    case check(value, type) do
      {:ok, value} ->
        value

      :error ->
        raise ArgumentError,
              "option #{inspect(name)} of #{owner} must be #{expected(type)}, " <>
                "got: #{inspect(value)}"
    end
  end

  defp missing(name, type, owner) do
    "option #{inspect(name)} of #{owner} is required; it must be #{expected(type)}"
  end

  defp check(value, {:integer, min, :infinity}), do: check(value, {:integer, min, @largest})

  defp check(value, {:integer, min, max})
       when is_integer(value) and value >= min and value <= max,
       do: {:ok, value}

  defp check(:infinity, :timeout), do: {:ok, :infinity}
  defp check(value, :timeout) when value in 1..@longest, do: {:ok, value}
  defp check(:infinity, :limit), do: {:ok, :infinity}
  defp check(value, :limit), do: check(value, {:integer, 1, @largest})
  defp check(value, :boolean) when is_boolean(value), do: {:ok, value}
  defp check(value, {:in, values}), do: if(value in values, do: {:ok, value}, else: :error)
  defp check(value, {:check, check, _expected}), do: check.(value)
  defp check(_value, _type), do: :error

  defp expected({:integer, min, :infinity}), do: "an integer of at least #{min}, below 2^63"
  defp expected({:integer, min, max}), do: "an integer from #{min} to #{max}"
  defp expected(:timeout), do: "a number of milliseconds from 1 to #{@longest} or `:infinity`"
  defp expected(:limit), do: "a positive integer below 2^63 or `:infinity`"
  defp expected(:boolean), do: "`true` or `false`"
  defp expected({:in, values}), do: "one of " <> Enum.map_join(values, ", ", &"`#{inspect(&1)}`")
  defp expected({:check, _check, expected}), do: expected
end
